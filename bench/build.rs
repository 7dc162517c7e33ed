//! Compiles the BPF programs of `xlns-bench wire` and `xlns-bench steer`, and makes their skeletons.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use libbpf_cargo::SkeletonBuilder;

/// Each source and what its skeleton is called.
const SOURCES: [(&str, &str); 3] = [
    ("src/wire/kernel/traffic.bpf.c", "traffic.skel.rs"),
    ("src/steer/empty.bpf.c", "empty.skel.rs"),
    ("src/wire/redirect.bpf.c", "redirect.skel.rs"),
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Debian and its kin keep the <asm/..> headers in a folder by architecture, where a clang that
    // compiles for BPF does not look.
    let machine = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the architecture");
    let include = format!("-I/usr/include/{machine}-linux-gnu");
    let arguments = [&*include, "-mcpu=v3", "-Wall", "-Wextra", "-Werror"];
    for (source, skeleton) in SOURCES {
        println!("cargo:rerun-if-changed={source}");
        if let Err(error) = SkeletonBuilder::new()
            .source(source)
            .clang_args(arguments)
            .build_and_generate(out.join(skeleton))
        {
            panic!(
                "cannot compile bench/{source} (are clang and libelf-dev installed?): {error:#}"
            );
        }
    }
    println!("cargo:rustc-env=XLNS_BENCH_COMPILER={}", compiler());
}

/// What `xlns-bench instructions` names beside its counts.
fn compiler() -> String {
    let compiler = env::var_os("RUSTC").expect("cargo names the compiler");
    let version = Command::new(compiler).arg("--version").output().expect("the compiler runs");
    String::from_utf8_lossy(&version.stdout).trim().into()
}
