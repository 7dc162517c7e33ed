//! The guest's first file system, made anew for each run: busybox, the kernel's modules that are
//! needed, and a script that puts this machine's root, read-only, under a layer in memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::archive::Kernel;
use crate::guest::{SHARE, agent};
use crate::process::run;
use crate::{LabError, Result};

/// Tags of the two folders that the machine shares.
pub const ROOT_TAG: &str = "root";
/// See [`ROOT_TAG`].
pub const SHARE_TAG: &str = "share";

/// What is loaded, with what it needs: the NICs, the shared folders, the kernel's own L2TP and PPP,
/// and the TUN device. One that the kernel has built in has no file.
const MODULES: [&str; 7] =
    ["virtio_net", "9pnet_virtio", "9p", "overlay", "l2tp_ppp", "ppp_async", "tun"];

/// Statically linked, of Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// Mounts the root and goes there.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /dev /lower /layer /new
$b mount -t proc proc /proc
$b mount -t devtmpfs dev /dev
$b dmesg -n 4
for module in /modules/*.ko; do $b insmod $module || echo "insmod $module failed"; done
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=262144,cache=loose root /lower
$b mount -t tmpfs tmpfs /layer
$b mkdir /layer/upper /layer/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/layer/upper,workdir=/layer/work overlay /new
$b cp /agent /new/.xlns-agent
$b umount /proc
exec $b switch_root /new /bin/sh /.xlns-agent
"#;

/// The first program in the root: mounts, network by `network`, and then the agent.
fn first_program(network: &str) -> String {
    format!(
        r#"export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmpfs /run
mkdir -p /dev/pts {SHARE}
mount -t devpts devpts /dev/pts
mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144,cache=none {SHARE_TAG} {SHARE}
{network}{}"#,
        agent()
    )
}

/// The image, as the kernel unpacks it.
///
/// # Errors
/// Where busybox or a module is missing.
pub fn build(kernel: &Kernel, network: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.folder("bin");
    archive.folder("modules");
    archive.file("bin/busybox", 0o755, &read(Path::new(BUSYBOX))?);
    archive.file("init", 0o755, INIT.as_bytes());
    archive.file("agent", 0o644, first_program(network).as_bytes());
    for (index, module) in modules(kernel)?.iter().enumerate() {
        let name = format!("modules/{index:02}-{}.ko", name_of(module));
        archive.file(&name, 0o644, &uncompressed(module)?);
    }
    Ok(archive.finish())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| LabError::io(&format!("read {}", path.display()), &error))
}

/// The files of [`MODULES`] and of what they depend on, in the order in which they load.
fn modules(kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    find(&kernel.modules, &mut all);
    let mut order = Vec::new();
    for name in MODULES {
        add(name, &all, &mut order, &|file| {
            let depends = run(Command::new("modinfo").args(["-F", "depends"]).arg(file))?;
            Ok(depends.trim().split(',').map(str::to_owned).collect())
        })?;
    }
    Ok(order)
}

/// Adds a module behind those that it depends on.
fn add(
    name: &str,
    all: &[PathBuf],
    order: &mut Vec<PathBuf>,
    depends: &impl Fn(&Path) -> Result<Vec<String>>,
) -> Result<()> {
    let Some(file) = all.iter().find(|file| name_of(file) == name) else { return Ok(()) };
    if order.contains(file) {
        return Ok(());
    }
    for needed in depends(file)? {
        add(&needed.replace('-', "_"), all, order, depends)?;
    }
    order.push(file.clone());
    Ok(())
}

/// All modules below a folder.
fn find(folder: &Path, modules: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() {
            find(&path, modules);
        } else if path.to_string_lossy().contains(".ko") {
            modules.push(path);
        }
    }
}

/// A module's name, of its file's.
fn name_of(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.split(".ko").next().unwrap_or_default().replace('-', "_")
}

fn uncompressed(module: &Path) -> Result<Vec<u8>> {
    let extension = module.extension().unwrap_or_default().to_string_lossy();
    let program = match &*extension {
        "xz" => "xz",
        "zst" => "zstd",
        "gz" => "gzip",
        _ => return read(module),
    };
    let attempt = format!("{program} -dc {}", module.display());
    let output = Command::new(program).arg("-dc").arg(module).output();
    let output = output.map_err(|error| LabError::io(&attempt, &error))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    Err(LabError::new(format!("{attempt}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// A cpio archive ("new ASCII format"), as the kernel's documentation of initramfs buffers has it.
#[derive(Debug, Default)]
struct Archive {
    octets: Vec<u8>,
    files: u32,
}

impl Archive {
    const FOLDER: u32 = 0o040_755;
    const FILE: u32 = 0o100_000;

    fn folder(&mut self, name: &str) {
        self.entry(name, Self::FOLDER, &[]);
    }

    fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, Self::FILE | permissions, content);
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.files += 1;
        let (size, name_size) = (content.len() as u32, name.len() as u32 + 1);
        // Inode, mode, owner, group, links, time, size, four device numbers, the name's size, check.
        let fields = [self.files, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.octets.extend_from_slice(b"070701");
        for field in fields {
            self.octets.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.octets.extend_from_slice(name.as_bytes());
        self.octets.push(0);
        self.pad();
        self.octets.extend_from_slice(content);
        self.pad();
    }

    /// Names and contents end at a multiple of four.
    fn pad(&mut self) {
        self.octets.resize(self.octets.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_behind_what_it_needs_and_once() {
        let all: Vec<PathBuf> =
            ["x/a.ko.xz", "x/b-c.ko", "y/d.ko.zst"].iter().map(PathBuf::from).collect();
        let depends = |file: &Path| {
            Ok(match &*name_of(file) {
                "a" => vec!["b-c".to_owned(), "d".to_owned(), "built_in".to_owned()],
                "b_c" => vec!["d".to_owned()],
                _ => vec![String::new()],
            })
        };
        let mut order = Vec::new();
        for name in ["a", "d", "none"] {
            add(name, &all, &mut order, &depends).unwrap();
        }
        assert_eq!(order, [&all[2], &all[1], &all[0]].map(Clone::clone));
    }

    #[test]
    fn the_archive_is_one_that_cpio_reads() {
        let mut archive = Archive::default();
        archive.folder("bin");
        archive.file("bin/a", 0o755, b"hello");
        let octets = archive.finish();
        assert_eq!(octets.len() % 4, 0);
        assert!(octets.starts_with(b"070701"));
        // Header 110, name 4: the next entry begins at 116.
        assert_eq!(&octets[116..122], b"070701");
        let name = 116 + 110;
        assert_eq!(&octets[name..name + 6], b"bin/a\0");
        assert_eq!(&octets[name + 6..name + 11], b"hello");
        assert_eq!(&octets[116 + 6 + 6 * 8..116 + 6 + 7 * 8], b"00000005", "size");
    }
}
