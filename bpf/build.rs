//! Compiles the steering program, makes its skeleton, and makes the Rust side of `shared.h`.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use libbpf_cargo::SkeletonBuilder;

/// The program, and what it includes.
const SOURCES: [&str; 4] = ["src/steer.bpf.c", "src/maps.h", "src/parse.h", "src/shared.h"];

/// A program that does nothing, for the measurement in `examples/steer_cost.rs`.
const EMPTY: &str = "examples/empty.bpf.c";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for source in SOURCES.iter().chain([&EMPTY]) {
        println!("cargo:rerun-if-changed={source}");
    }
    compile("src/steer.bpf.c", &out.join("steer.skel.rs"));
    compile(EMPTY, &out.join("empty.skel.rs"));
    let shared = fs::read_to_string("src/shared.h").expect("shared.h is there");
    fs::write(out.join("shared.rs"), translate(&shared)).expect("OUT_DIR can be written");
}

fn compile(source: &str, skeleton: &Path) {
    // Debian and its kin keep the <asm/..> headers in a folder by architecture, where a clang that
    // compiles for BPF does not look.
    let machine = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the architecture");
    let include = format!("-I/usr/include/{machine}-linux-gnu");
    // v3: 32-bit arithmetic and compare-and-swap, Linux 5.12 and later.
    let arguments = [&*include, "-mcpu=v3", "-Wall", "-Wextra", "-Werror"];
    if let Err(error) =
        SkeletonBuilder::new().source(source).clang_args(arguments).build_and_generate(skeleton)
    {
        panic!("cannot compile bpf/{source} (are clang and libelf-dev installed?): {error:#}");
    }
}

/// Makes the constants and the reasons of `shared.h` into Rust.
fn translate(shared: &str) -> String {
    let mut rust = String::new();
    for line in shared.lines() {
        if let Some((name, value)) = line.strip_prefix("#define ").and_then(|d| d.split_once(' '))
            && let Ok(value) = value.trim().parse::<u32>()
        {
            writeln!(rust, "pub(crate) const {name}: u32 = {value};").expect("to a string");
        }
    }
    let (_, list) = shared
        .split_once("#define STEER_REASONS(TO_WORKERS, TO_KERNEL, DROP) \\\n")
        .expect("shared.h has the list");
    let (list, _) = list.split_once("\n\n").expect("an empty line ends the list");
    writeln!(rust, "reasons! {{").expect("to a string");
    for entry in list.replace("\\\n", " ").split_terminator("\")") {
        let (way, rest) = entry.trim().split_once('(').expect("WAY(");
        let (symbol, rest) = rest.split_once(',').expect("WAY(SYMBOL,");
        let (name, text) = rest.split_once(',').expect("WAY(SYMBOL, \"name\",");
        let (way, symbol) = (camel_case(way), camel_case(symbol));
        writeln!(rust, "    {symbol}, {way}, {name}, {}\";", text.trim()).expect("to a string");
    }
    rust.push_str("}\n");
    rust
}

fn camel_case(symbol: &str) -> String {
    let mut camel = String::new();
    for word in symbol.split('_') {
        let (first, rest) = word.split_at(1);
        camel.push_str(first);
        camel.push_str(&rest.to_lowercase());
    }
    camel
}
