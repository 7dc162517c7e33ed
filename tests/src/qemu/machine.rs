//! The guest: QEMU without any help of this machine's processor, two NICs that share their rings.
//!
//! A NIC is a pair of UNIX datagram sockets, one datagram is one Ethernet frame ([`super::wire`]).
//! Everything runs in a namespace of the lab's, so that the reaper finds it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::archive::Kernel;
use super::image::{self, ROOT_TAG, SHARE_TAG};
use crate::guest::Guest;
use crate::netns::Netns;
use crate::process::{Process, run};
use crate::{Lab, LabError, Result};

/// The emulator.
const QEMU: &str = "qemu-system-x86_64";

/// A boot takes 7 s on an idle machine, 30 s on one with other work.
const BOOT_WAIT: Duration = Duration::from_secs(180);

/// Memory of the guest.
const MEMORY_MIB: u32 = 768;

/// Cells of a NIC's receive ring: the most that QEMU makes.
const RECEIVE_CELLS: u32 = 1024;

/// What the guest's kernel is told: no defences that an emulator does not need, a periodic tick.
const KERNEL_PARAMETERS: &str = "console=ttyS0 quiet panic=-1 mitigations=off nohz=off highres=off";

/// What a NIC needs to share its rings: the rings of virtio 1.0, and addresses that go through its
/// platform's DMA layer. Without either, binding with zero-copy is an invalid argument.
const SHARES_RINGS: &str = "disable-legacy=on,iommu_platform=on";

/// A NIC of the guest.
#[derive(Debug, Clone)]
pub struct Nic {
    /// Its name in the guest.
    pub interface: &'static str,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Where QEMU reads frames that are for the guest.
    pub guest_end: PathBuf,
    /// Where QEMU writes frames of the guest.
    pub driver_end: PathBuf,
}

/// A running machine; dropped, it is halted.
#[derive(Debug)]
pub struct Machine {
    /// Its agent.
    pub guest: Guest,
}

impl Machine {
    /// Boots it in `namespace`, and runs `network`, lines of shell, before the agent listens.
    ///
    /// # Errors
    /// Where it does not come up; the console is in the log.
    pub fn boot(
        lab: &Lab,
        namespace: &Netns,
        kernel: &Kernel,
        cpus: u16,
        nics: &[Nic],
        network: &str,
    ) -> Result<Self> {
        crate::lab::require(QEMU, "qemu-system-x86")?;
        let share = lab.scratch().join("share");
        let initrd = lab.scratch().join("initrd");
        let naming: String = nics.iter().map(rename).collect();
        let image = image::build(kernel, &(naming + network))?;
        std::fs::create_dir_all(&share)
            .and_then(|()| std::fs::write(&initrd, image))
            .map_err(|error| LabError::io("write the guest's image", &error))?;
        let mut command = namespace.command(QEMU);
        command
            .args(["-name", "xlns,debug-threads=on", "-M", "q35", "-accel", "tcg,thread=multi"])
            // Two words exchanged at once cannot be emulated beside another CPU.
            .args(["-cpu", "max,-cx16", "-smp", &cpus.to_string()])
            .args(["-m", &MEMORY_MIB.to_string(), "-nodefaults", "-display", "none"])
            .args(["-serial", "stdio", "-no-reboot", "-kernel"])
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&initrd)
            // A timer register is a device to the emulator: a tick that stands still or moves with
            // every timer would cost more than packets do.
            .args(["-append", KERNEL_PARAMETERS])
            .args(shared_folder(ROOT_TAG, Path::new("/"), true))
            .args(shared_folder(SHARE_TAG, &share, false))
            .stdin(Stdio::piped());
        for (index, nic) in nics.iter().enumerate() {
            command.args(nic_arguments(index, nic));
        }
        let log = lab.log("guest");
        let guest = Guest::start_machine(&share, BOOT_WAIT, |ready, sink| {
            Process::spawn_into("guest", &mut command, &log, ready, sink)
        })?;
        Ok(Self { guest })
    }

    /// CPU time that its virtual CPUs have used so far.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn cpu_time(&self) -> Result<Duration> {
        let id = self.guest.process_id();
        cpu_time_of(&PathBuf::from(format!("/proc/{id}/task")))
            .ok_or_else(|| self.guest.error("the guest's CPUs are gone".to_owned()))
    }
}

/// What QEMU says of itself: its version.
///
/// # Errors
/// Where it does not run.
pub fn version() -> Result<String> {
    crate::lab::require(QEMU, "qemu-system-x86")?;
    let text = run(std::process::Command::new(QEMU).arg("--version"))?;
    let words = text.lines().next().unwrap_or_default().split_whitespace();
    Ok(words.skip_while(|word| *word != "version").nth(1).unwrap_or("unknown").to_owned())
}

/// The sum over the threads that are virtual CPUs.
fn cpu_time_of(tasks: &Path) -> Option<Duration> {
    let mut total = None;
    for task in std::fs::read_dir(tasks).ok()?.flatten().map(|entry| entry.path()) {
        let name = std::fs::read_to_string(task.join("comm")).unwrap_or_default();
        if !name.starts_with("CPU ") {
            continue;
        }
        let statistics = std::fs::read_to_string(task.join("schedstat")).ok()?;
        let nanos: u64 = statistics.split(' ').next()?.parse().ok()?;
        total = Some(total.unwrap_or(Duration::ZERO) + Duration::from_nanos(nanos));
    }
    total
}

fn shared_folder(tag: &str, path: &Path, read_only: bool) -> [String; 4] {
    let read_only = if read_only { ",readonly=on" } else { "" };
    let path = path.display();
    [
        "-fsdev".to_owned(),
        // The root may have other file systems in it, whose inodes have the same numbers.
        format!("local,id={tag},path={path},security_model=none,multidevs=remap{read_only}"),
        "-device".to_owned(),
        format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"),
    ]
}

fn nic_arguments(index: usize, nic: &Nic) -> [String; 4] {
    let (guest_end, driver_end) = (nic.guest_end.display(), nic.driver_end.display());
    let mac = mac_text(nic.mac);
    [
        "-netdev".to_owned(),
        format!(
            "dgram,id=n{index},local.type=unix,local.path={guest_end},\
             remote.type=unix,remote.path={driver_end}"
        ),
        "-device".to_owned(),
        format!(
            "virtio-net-pci,netdev=n{index},romfile=,mac={mac},rx_queue_size={RECEIVE_CELLS},\
             {SHARES_RINGS}"
        ),
    ]
}

/// Gives a NIC, found by its MAC address, its name.
fn rename(nic: &Nic) -> String {
    let (mac, interface) = (mac_text(nic.mac), nic.interface);
    format!(
        "for link in /sys/class/net/*; do [ $(cat $link/address) = {mac} ] && \
         ip link set ${{link##*/}} name {interface}; done\n"
    )
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|octet| format!("{octet:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_virtual_cpus_is_summed_and_that_of_others_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let tasks = folder.path();
        assert_eq!(cpu_time_of(tasks), None, "none there");
        for (id, name, nanos) in [(1, "qemu", 7), (2, "CPU 0/TCG", 10), (3, "CPU 1/TCG", 5)] {
            let task = tasks.join(id.to_string());
            std::fs::create_dir(&task).unwrap();
            std::fs::write(task.join("comm"), format!("{name}\n")).unwrap();
            std::fs::write(task.join("schedstat"), format!("{nanos} 99 3\n")).unwrap();
        }
        assert_eq!(cpu_time_of(tasks), Some(Duration::from_nanos(15)));
    }

    #[test]
    fn a_mac_address_is_written_as_the_kernel_does() {
        assert_eq!(mac_text([2, 0, 0, 0xab, 0, 0x10]), "02:00:00:ab:00:10");
    }
}
