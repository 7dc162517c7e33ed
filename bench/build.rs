//! Compiles the packet generator and the sink of `xlns-bench wire`, and makes their skeleton.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use libbpf_cargo::SkeletonBuilder;

/// Both programs.
const SOURCE: &str = "src/wire/traffic.bpf.c";

fn main() {
    println!("cargo:rerun-if-changed={SOURCE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Debian and its kin keep the <asm/..> headers in a folder by architecture, where a clang that
    // compiles for BPF does not look.
    let machine = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the architecture");
    let include = format!("-I/usr/include/{machine}-linux-gnu");
    let arguments = [&*include, "-mcpu=v3", "-Wall", "-Wextra", "-Werror"];
    if let Err(error) = SkeletonBuilder::new()
        .source(SOURCE)
        .clang_args(arguments)
        .build_and_generate(out.join("traffic.skel.rs"))
    {
        panic!("cannot compile bench/{SOURCE} (are clang and libelf-dev installed?): {error:#}");
    }
    println!("cargo:rustc-env=XLNS_BENCH_COMPILER={}", compiler());
}

/// What `xlns-bench instructions` names beside its counts.
fn compiler() -> String {
    let compiler = env::var_os("RUSTC").expect("cargo names the compiler");
    let version = Command::new(compiler).arg("--version").output().expect("the compiler runs");
    String::from_utf8_lossy(&version.stdout).trim().into()
}
