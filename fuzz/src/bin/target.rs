//! libFuzzer's main function around one target, that the environment names. `xlns-fuzz` runs it.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use xlns_fuzz::{Target, target};

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("XLNS_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("XLNS_FUZZ_TARGET={name}: no such target"))
});

fuzz_target!(|octets: &[u8]| (TARGET.run)(octets));
