//! Fields of kernel structs by name. rustc emits no CO-RE relocations (rust-lang/rust#160616), so the loader
//! reads the running kernel's BTF and writes each offset into the global of that name.
//!
//! The name of such a global must be a C identifier: it is in the object's own BTF, which the kernel refuses otherwise.

use crate::current;
use aya_ebpf::{
    Global,
    helpers::{bpf_probe_read_kernel, generated::bpf_get_current_task_btf},
};
use core::marker::PhantomData;

/// 1 if programs may read the current task without a helper, at a tenth of the cost: bpf_get_current_task_btf, since 5.11.
#[unsafe(no_mangle)]
pub static TASK_HELPER: Global<u32> = Global::new(0);

/// Returns the current task, whose fields can be loaded.
#[inline(always)]
pub fn typed_current() -> *const u8 {
    match TASK_HELPER.load() {
        0 => current(),
        // SAFETY: the helper only returns a pointer.
        _ => unsafe { bpf_get_current_task_btf() as *const u8 },
    }
}

/// Reads two adjacent fields of a kernel struct by one read of `WORDS` words: the cost of a read does not depend on its size.
///
/// # Errors
/// As for [`Field::read`].
#[inline(always)]
pub fn read_both<A: Copy, B: Copy, const WORDS: usize>(
    base: *const u8,
    one: &Field<A>,
    other: &Field<B>,
) -> Result<(A, B), i32> {
    let (one_at, other_at) = (one.offset.load() as usize, other.offset.load() as usize);
    let start = if one_at < other_at { one_at } else { other_at };
    let (one_at, other_at) = (one_at - start, other_at - start);
    if one_at + size_of::<A>() > WORDS * 8 || other_at + size_of::<B>() > WORDS * 8 {
        return Ok((one.read(base)?, other.read(base)?));
    }
    // SAFETY: the helper checks the address.
    let words: [u64; WORDS] = unsafe { bpf_probe_read_kernel(base.wrapping_add(start).cast()) }?;
    let bytes = words.as_ptr().cast::<u8>();
    // SAFETY: both lie in the words; every bit pattern is a value of the types used here.
    Ok(unsafe {
        (
            bytes.add(one_at).cast::<A>().read(),
            bytes.add(other_at).cast::<B>().read(),
        )
    })
}

/// The byte offset of a field of type `T` in a kernel struct.
#[repr(C)]
pub struct Field<T> {
    offset: Global<u32>,
    /// Bytes that a read takes. The loader compares it with the field: a kernel may have made the field smaller.
    width: u32,
    value: PhantomData<fn() -> T>,
}

impl<T> Field<T> {
    /// Value of an optional field that this kernel lacks.
    const ABSENT: u32 = u32::MAX;

    /// Creates a field. The loader writes its offset.
    #[allow(
        clippy::new_without_default,
        reason = "only kernel_fields! makes these"
    )]
    pub const fn new() -> Self {
        Self {
            offset: Global::new(Self::ABSENT),
            width: size_of::<T>() as u32,
            value: PhantomData,
        }
    }

    /// Returns whether this kernel has the field; only an optional one may be absent.
    #[inline(always)]
    pub fn exists(&self) -> bool {
        self.offset.load() != Self::ABSENT
    }

    /// Returns the address of the field in the struct at `base`.
    #[inline(always)]
    pub fn of(&self, base: *const u8) -> *const T {
        base.wrapping_add(self.offset.load() as usize).cast()
    }

    /// Returns the struct that has this field at `field`.
    #[inline(always)]
    pub fn container(&self, field: *const u8) -> *const u8 {
        field.wrapping_sub(self.offset.load() as usize)
    }

    /// Reads the field of the kernel struct at `base`.
    ///
    /// # Errors
    /// If the memory cannot be read: a stale pointer is an error, never a fault.
    #[inline(always)]
    pub fn read(&self, base: *const u8) -> Result<T, i32> {
        // SAFETY: the helper checks the address; every bit pattern is a value of the types used here.
        unsafe { bpf_probe_read_kernel(self.of(base)) }
    }

    /// Reads the field of the struct at `base`, which is the current task or what its fields lead to: the verifier knows of which types
    /// they are, and refuses the program where it does not.
    ///
    /// # Errors
    /// As [`Self::read`]; where there is no struct, the value is 0 and no error.
    #[inline(always)]
    pub fn load(&self, base: *const u8) -> Result<T, i32> {
        if TASK_HELPER.load() == 0 {
            return self.read(base);
        }
        // SAFETY: the verifier has checked what is there, and the kernel catches what faults.
        Ok(unsafe { self.of(base).read_volatile() })
    }

    /// Reads the field of the current task.
    ///
    /// # Errors
    /// As [`Self::read`].
    #[inline(always)]
    pub fn of_current_task(&self) -> Result<T, i32> {
        self.load(typed_current())
    }
}

/// A constant of a kernel enum with different values in different configurations.
#[repr(transparent)]
pub struct EnumValue(Global<u32>);

impl EnumValue {
    /// Creates a constant. The loader writes its value.
    #[allow(clippy::new_without_default, reason = "only kernel_enums! makes these")]
    pub const fn new() -> Self {
        Self(Global::new(0))
    }

    /// Creates a constant that some kernels lack: its value there is `u32::MAX`.
    pub const fn optional() -> Self {
        Self(Global::new(u32::MAX))
    }

    /// Returns its value in this kernel.
    #[inline(always)]
    pub fn load(&self) -> u32 {
        self.0.load()
    }
}

/// A field of one bit in a kernel struct.
#[repr(transparent)]
pub struct Bit(Global<u32>);

impl Bit {
    /// A field whose offset in bits the loader fills in.
    #[allow(clippy::new_without_default, reason = "only kernel_bits! makes these")]
    pub const fn new() -> Self {
        Self(Global::new(0))
    }

    /// Reads the field of the kernel struct at `base`.
    ///
    /// # Errors
    /// Where that memory cannot be read.
    #[inline(always)]
    pub fn read(&self, base: *const u8) -> Result<bool, i32> {
        let bits = self.0.load();
        // SAFETY: the helper checks the address.
        let byte: u8 = unsafe { bpf_probe_read_kernel(base.wrapping_add(bits as usize / 8)) }?;
        Ok(byte >> (bits % 8) & 1 == 1)
    }
}

/// Declares fields of one bit: `NAME = struct.field;`.
#[macro_export]
macro_rules! kernel_bits {
    ($($name:ident = $struct:ident . $field:ident;)*) => { $(
        #[doc = concat!("`", stringify!($field), "` of `struct ", stringify!($struct), "`.")]
        #[unsafe(export_name = concat!("KBIT_", stringify!($struct), "_DOT_", stringify!($field)))]
        pub static $name: $crate::Bit = $crate::Bit::new();
    )* };
}

/// The address of a kernel function.
#[repr(transparent)]
pub struct Function(Global<u64>);

impl Function {
    /// A function whose address the loader fills in.
    #[allow(
        clippy::new_without_default,
        reason = "only kernel_functions! makes these"
    )]
    pub const fn new() -> Self {
        Self(Global::new(0))
    }

    /// Returns its address; 0 where this kernel lacks it and it is optional.
    #[inline(always)]
    pub fn address(&self) -> u64 {
        self.0.load()
    }

    /// Returns whether an address lies within the first `bytes` bytes of the function.
    #[inline(always)]
    pub fn contains(&self, address: u64, bytes: u64) -> bool {
        let start = self.0.load();
        start != 0 && address.wrapping_sub(start) < bytes
    }
}

/// Declares functions of the kernel: `NAME = function;`, or `NAME = function | other;` for the first that there is, and with `optional`
/// before it those that some kernels lack. Their addresses require CAP_SYSLOG: /proc/kallsyms.
#[macro_export]
macro_rules! kernel_functions {
    () => {};
    (optional $name:ident = $first:ident $(| $other:ident)*; $($rest:tt)*) => {
        $crate::kernel_functions!(@one "KOPTFUN_", $name = $first $(| $other)*);
        $crate::kernel_functions!($($rest)*);
    };
    ($name:ident = $first:ident $(| $other:ident)*; $($rest:tt)*) => {
        $crate::kernel_functions!(@one "KFUN_", $name = $first $(| $other)*);
        $crate::kernel_functions!($($rest)*);
    };
    (@one $prefix:literal, $name:ident = $first:ident $(| $other:ident)*) => {
        #[doc = concat!("`", stringify!($first), "`", $(" or `", stringify!($other), "`",)* ".")]
        #[unsafe(export_name = concat!($prefix, stringify!($first) $(, "_OR_", stringify!($other))*))]
        pub static $name: $crate::Function = $crate::Function::new();
    };
}

/// Declares fields: `NAME = struct.field: type;`, a field in a field `struct.field.field`,
/// and with `optional` before it one that some kernels lack.
#[macro_export]
macro_rules! kernel_fields {
    () => {};
    (optional $name:ident = $struct:ident . $first:ident $(. $more:ident)* : $ty:ty; $($rest:tt)*) => {
        $crate::kernel_fields!(@one "KOPT_", $name = $struct . $first $(. $more)* : $ty);
        $crate::kernel_fields!($($rest)*);
    };
    ($name:ident = $struct:ident . $first:ident $(. $more:ident)* : $ty:ty; $($rest:tt)*) => {
        $crate::kernel_fields!(@one "KOFF_", $name = $struct . $first $(. $more)* : $ty);
        $crate::kernel_fields!($($rest)*);
    };
    (@one $prefix:literal, $name:ident = $struct:ident . $first:ident $(. $more:ident)* : $ty:ty) => {
        #[doc = concat!("`", stringify!($first), $(".", stringify!($more),)* "` of `struct ", stringify!($struct), "`.")]
        #[unsafe(export_name = concat!($prefix, stringify!($struct), "_DOT_", stringify!($first) $(, "_DOT_", stringify!($more))*))]
        pub static $name: $crate::Field<$ty> = $crate::Field::new();
    };
}

/// Declares enum constants: `NAME = CONSTANT;`, and with `optional` before it one that some kernels lack.
/// Their names are unique in the kernel, whichever enum they are of.
#[macro_export]
macro_rules! kernel_enums {
    () => {};
    (optional $name:ident = $constant:ident; $($rest:tt)*) => {
        #[doc = concat!("`", stringify!($constant), "`.")]
        #[unsafe(export_name = concat!("KOPTENUM_", stringify!($constant)))]
        pub static $name: $crate::EnumValue = $crate::EnumValue::optional();
        $crate::kernel_enums!($($rest)*);
    };
    ($name:ident = $constant:ident; $($rest:tt)*) => {
        #[doc = concat!("`", stringify!($constant), "`.")]
        #[unsafe(export_name = concat!("KENUM_", stringify!($constant)))]
        pub static $name: $crate::EnumValue = $crate::EnumValue::new();
        $crate::kernel_enums!($($rest)*);
    };
}
