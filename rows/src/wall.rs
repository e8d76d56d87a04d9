//! The wall clock of this machine.

use jiff::{Timestamp, tz::TimeZone};
use tracers::Wall;

/// The clock as it stands now, in the local zone. `boot_unix_ns` is the wall-clock time at boot.
pub fn wall(boot_unix_ns: u64) -> Wall {
    let offset = TimeZone::system().to_offset(Timestamp::now());
    Wall {
        boot_unix_ns,
        offset_s: offset.seconds(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_known_by_its_name() {
        const NAME: &str = "Asia/Kolkata";
        match TimeZone::get(NAME) {
            Ok(zone) => assert_eq!(zone.to_offset(Timestamp::UNIX_EPOCH).seconds(), 19_800),
            Err(error) => {
                let here = std::path::Path::new("/usr/share/zoneinfo").join(NAME);
                assert!(!here.exists(), "{error}");
                println!(
                    "SKIPPED wall::tests::a_zone_is_known_by_its_name: this machine has no zones"
                );
            }
        }
    }
}
