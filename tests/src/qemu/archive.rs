//! The guest's kernel: a package of Debian's, fetched beside the system's own package management.
//!
//! apt runs with a configuration, a source list, lists and a cache of its own below one folder; of
//! the system it takes the mirror and the keyring, and nothing of the system's is changed. apt
//! verifies the signature of the index, and by it what is downloaded. A kernel that is there is
//! used again, without a look at the archive.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::run;
use crate::{LabError, Result};

/// Where kernels come from that are new enough: virtio_net shares its rings with AF_XDP from 6.18 on
/// (6.12 has the code and says that it is not supported).
const SUITE: &str = "trixie-backports";

/// The first version that binds with zero-copy.
const VERSION_MIN: [u32; 2] = [6, 18];

/// Whose signatures count; a package of its own keeps it up to date.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The only architecture that the guest is made for: it runs this machine's programs.
const ARCHITECTURE: &str = "amd64";

/// A kernel and its modules, unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says in the guest.
    pub version: String,
    /// The image.
    pub image: PathBuf,
    /// The folder below which its modules lie.
    pub modules: PathBuf,
}

/// The newest kernel in `folder`; where there is none, or `refresh` is asked for, the newest of the
/// archive.
///
/// # Errors
/// Where the archive cannot be reached or has none that is new enough; says what to do.
pub fn obtain(folder: &Path, refresh: bool) -> Result<Kernel> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(LabError::new("this lab's guest runs programs of an amd64 machine"));
    }
    match newest_of(folder) {
        Some(kernel) if !refresh => Ok(kernel),
        _ => download(folder),
    }
}

/// The newest kernel that was unpacked whole.
fn newest_of(folder: &Path) -> Option<Kernel> {
    let entries = std::fs::read_dir(folder.join("kernels")).ok()?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let newest = names.filter(|name| is_generic(name)).max_by_key(|name| version_of(name))?;
    Some(kernel_in(folder, &newest)).filter(|kernel| kernel.image.is_file())
}

fn kernel_in(folder: &Path, version: &str) -> Kernel {
    let root = folder.join("kernels").join(version);
    let modules = root.join("usr/lib/modules").join(version);
    // The image is in /boot where a package has it all, and with the modules where it does not.
    let boot = root.join("boot").join(format!("vmlinuz-{version}"));
    let image = if boot.is_file() { boot } else { modules.join("vmlinuz") };
    Kernel { version: version.to_owned(), image, modules }
}

fn download(folder: &Path) -> Result<Kernel> {
    let apt = Apt::new(folder, &mirror()?)?;
    apt.run("apt-get", &["-q", "update"]).map_err(|error| {
        LabError::new(format!(
            "the kernel for the guest comes from Debian's {SUITE}, whose index cannot be had.\n\
             Without a way to the archive this lab does not run. Where a signature is the trouble, \
             bring the keyring up to date: apt-get install debian-archive-keyring\n{error}"
        ))
    })?;
    let pattern = format!("^linux-(image|binary|modules)-[0-9].*-{ARCHITECTURE}$");
    let found = apt.run("apt-cache", &["search", "--names-only", &pattern])?;
    let names: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
    let version = newest(&names).ok_or_else(|| {
        let [major, minor] = VERSION_MIN;
        LabError::new(format!("{SUITE} has no kernel from {major}.{minor} on: {names:?}"))
    })?;
    let wanted = ["image", "binary", "modules"].map(|part| format!("linux-{part}-{version}"));
    let there = wanted.iter().map(String::as_str).filter(|name| names.contains(name));
    apt.download(&there.collect::<Vec<_>>())?;
    apt.unpack(&folder.join("kernels"), &version)?;
    let kernel = kernel_in(folder, &version);
    if kernel.image.is_file() {
        return Ok(kernel);
    }
    Err(LabError::new(format!("the packages of {version} have no {}", kernel.image.display())))
}

/// The mirror that the system itself uses for Debian's releases.
fn mirror() -> Result<String> {
    let format = "$(ORIGIN) $(COMPONENT) $(CODENAME) $(SITE)";
    let mut command = Command::new("apt-get");
    let text = run(command.args(["indextargets", "--format", format, "Created-By: Packages"]))?;
    mirror_of(&text).ok_or_else(|| {
        LabError::new(
            "apt knows no mirror of Debian's releases (apt-get indextargets): \
             run apt-get update, or add one to the system's sources",
        )
    })
}

fn mirror_of(targets: &str) -> Option<String> {
    targets.lines().find_map(|line| {
        let [origin, component, codename, site] =
            line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        // Security updates have a mirror of their own, without other suites.
        let fits = origin == "Debian" && component == "main" && !codename.ends_with("-security");
        fits.then(|| site.to_owned())
    })
}

/// Whether a version is that of the ordinary kernel: others have their flavour's name behind it.
fn is_generic(version: &str) -> bool {
    version.strip_suffix(ARCHITECTURE).is_some_and(|rest| rest.matches('-').count() == 1)
}

/// The numbers that a version begins with.
fn version_of(version: &str) -> Vec<u32> {
    let numbers = version.split(|c: char| !c.is_ascii_digit() && c != '.').next();
    numbers.unwrap_or_default().split('.').filter_map(|number| number.parse().ok()).collect()
}

/// The newest version that the packages of these names have an image of.
fn newest(names: &[&str]) -> Option<String> {
    let versions = names.iter().filter_map(|name| {
        name.strip_prefix("linux-image-").or_else(|| name.strip_prefix("linux-binary-"))
    });
    versions
        .filter(|version| is_generic(version) && version_of(version)[..] >= VERSION_MIN[..])
        .max_by_key(|version| version_of(version))
        .map(str::to_owned)
}

/// apt with everything of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(folder: &Path, mirror: &str) -> Result<Self> {
        let folder = folder.join("apt");
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text);
        let path = folder.display();
        let configuration = format!(
            "Dir::Etc::SourceList \"{path}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
             Dir::State \"{path}/state\";\nDir::State::status \"{path}/status\";\n\
             Dir::Cache \"{path}/cache\";\nAPT::Sandbox::User \"root\";\n\
             APT::Update::Post-Invoke-Success \"\";\nAcquire::Retries \"2\";\n"
        );
        let source =
            format!("deb [arch={ARCHITECTURE} signed-by={KEYRING}] {mirror} {SUITE} main\n");
        ["state/lists/partial", "cache/archives/partial", "debs"]
            .iter()
            .try_for_each(|name| std::fs::create_dir_all(folder.join(name)))
            .and_then(|()| write("apt.conf", &configuration))
            .and_then(|()| write("sources.list", &source))
            .and_then(|()| write("status", ""))
            .map_err(|error| LabError::io(&format!("write {path}"), &error))?;
        Ok(Self { folder })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.folder.join("apt.conf")).env("LC_ALL", "C");
        command
    }

    fn run(&self, program: &str, words: &[&str]) -> Result<String> {
        run(self.command(program).args(words))
    }

    fn debs(&self) -> PathBuf {
        self.folder.join("debs")
    }

    fn download(&self, packages: &[&str]) -> Result<()> {
        let mut command = self.command("apt-get");
        command.current_dir(self.debs()).args(["-q", "download"]).args(packages);
        run(&mut command).map(|_| ())
    }

    /// Unpacks what was downloaded to a folder of the version's name, and forgets the packages.
    fn unpack(&self, kernels: &Path, version: &str) -> Result<()> {
        let partial = kernels.join("partial");
        let failed = |error: &std::io::Error| {
            LabError::io(&format!("unpack the kernel to {}", kernels.display()), error)
        };
        let _ = std::fs::remove_dir_all(&partial);
        std::fs::create_dir_all(&partial).map_err(|error| failed(&error))?;
        let entries = std::fs::read_dir(self.debs()).map_err(|error| failed(&error))?;
        for package in entries.flatten().map(|entry| entry.path()) {
            run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&partial))?;
            std::fs::remove_file(&package).map_err(|error| failed(&error))?;
        }
        let whole = kernels.join(version);
        let _ = std::fs::remove_dir_all(&whole);
        std::fs::rename(&partial, &whole).map_err(|error| failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_ordinary_kernel_is_taken() {
        let names = [
            "linux-image-6.12.9+deb13-amd64",
            "linux-binary-7.9.1+deb13-amd64",
            "linux-binary-7.10.2+deb13-amd64",
            "linux-binary-7.11.0+deb13-cloud-amd64",
            "linux-binary-7.11.0+deb13-rt-amd64",
            "linux-modules-7.12.0+deb13-amd64",
        ];
        assert_eq!(newest(&names).as_deref(), Some("7.10.2+deb13-amd64"));
        assert_eq!(newest(&names[..1]), None, "too old");
        assert!(newest(&["linux-image-6.18.0+deb13-amd64"]).is_some());
    }

    #[test]
    fn the_mirror_is_that_of_the_releases() {
        let targets = "Other main stable http://other.example/x\n\
                       Debian main bookworm-security http://mirror.example/debian-security\n\
                       Debian main bookworm http://mirror.example/debian\n";
        assert_eq!(mirror_of(targets).as_deref(), Some("http://mirror.example/debian"));
        assert_eq!(mirror_of("Debian main bookworm-security http://mirror.example/s\n"), None);
        assert_eq!(mirror_of("too few\n"), None);
    }

    #[test]
    fn only_a_kernel_that_was_unpacked_whole_is_used_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(newest_of(folder.path()), None);
        let version = "7.3.4+deb13-amd64";
        let modules = folder.path().join("kernels").join(version).join("usr/lib/modules");
        std::fs::create_dir_all(modules.join(version)).unwrap();
        assert_eq!(newest_of(folder.path()), None);
        std::fs::write(modules.join(version).join("vmlinuz"), "").unwrap();
        assert_eq!(newest_of(folder.path()).unwrap().version, version);
    }
}
