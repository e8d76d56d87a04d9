//! A 32-bit program, made by hand: no compiler for it need be there.

/// Where it is loaded.
const BASE: u32 = 0x0804_8000;
/// Its header and its one program header: elf(5).
const HEADERS: u32 = 52 + 32;

/// An i386 program that opens /dev/null, calls getppid(2) three times and exits with 0; arch/x86/entry/syscalls/syscall_32.tbl.
pub fn program32() -> Vec<u8> {
    let call = |number: u32| {
        // mov eax, number; int 0x80
        let mut code = vec![0xb8];
        code.extend(number.to_le_bytes());
        code.extend([0xcd, 0x80]);
        code
    };
    let code = |path: u32| {
        // xor ecx, ecx; mov ebx, path
        let mut code = vec![0x31, 0xc9, 0xbb];
        code.extend(path.to_le_bytes());
        code.extend(call(5));
        for _ in 0..3 {
            code.extend(call(64));
        }
        // xor ebx, ebx
        code.extend([0x31, 0xdb]);
        code.extend(call(1));
        code
    };
    let entry = BASE + HEADERS;
    let path = entry + code(0).len() as u32;
    let mut body = code(path);
    body.extend(b"/dev/null\0");
    let size = HEADERS + body.len() as u32;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u32]| {
        file.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    };
    // ET_EXEC, EM_386.
    halves(&mut file, &[2, 3]);
    // Version, entry, program headers at 52, no sections, no flags.
    words(&mut file, &[1, entry, 52, 0, 0]);
    // Sizes and counts of headers: one program header, no section.
    halves(&mut file, &[52, 32, 1, 40, 0, 0]);
    // PT_LOAD of the whole file, to be read and executed.
    words(&mut file, &[1, 0, BASE, BASE, size, size, 5, 4096]);
    file.extend(body);
    file
}
