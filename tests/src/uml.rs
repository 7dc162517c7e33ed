//! A real kernel as the peer: User-Mode Linux with the root of this machine, read-only.
//!
//! Its agent is that of every guest ([`crate::guest`]), on its console, the folder shared by hostfs.
//!
//! UML 6.1 saves a guest's vector registers in a buffer that is too small on hosts with AMX, and
//! the guest dies at its first instruction. A seccomp filter takes the larger register set away, so
//! that UML falls back to the registers of SSE; in return the guest's C library is told to leave
//! AVX alone, whose registers nobody saves any more.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::statvfs::FsFlags;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

pub use crate::guest::{Guest, Job, SHARE};
use crate::guest::{agent, write_file};
use crate::netns::Netns;
use crate::process::Process;
use crate::{Lab, LabError, Result};

/// A boot takes 2 to 3 s on an idle machine.
const BOOT_WAIT: Duration = Duration::from_secs(60);

/// How long a command may take that takes an instant on an idle machine.
const COMMAND_WAIT: Duration = Duration::from_secs(20);

/// Memory of the guest.
const MEMORY_MIB: u64 = 256;

/// The largest MTU of the guest's link: its driver takes no larger one once it runs, and an IP packet
/// of 1500 octets with everything around it has to fit. Its route says what is used of it.
const LINK_MTU: u16 = 1600;

/// What is used unless a test says otherwise.
const ROUTE_MTU: u16 = 1500;

/// Parts of the C library that would use AVX.
const TUNABLES: &str = "GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,\
                        -AVX_Fast_Unaligned_Load,-AVX2_Usable,-BMI2";

/// How the guest is attached to its namespace.
#[derive(Debug, Clone)]
pub struct Network {
    /// The interface in the namespace that the guest reads and writes raw.
    pub interface: String,
    /// The guest's address with its prefix length. It gets no default route: what leaves for the
    /// core must leave through a session.
    pub address: String,
}

impl Guest {
    /// Boots a guest on `network` of `namespace`.
    ///
    /// # Errors
    /// Where it does not come up; the console is in the log.
    pub fn boot(lab: &Lab, name: &str, namespace: &Netns, network: &Network) -> Result<Self> {
        let share = lab.scratch().join(name);
        std::fs::create_dir_all(&share).map_err(|error| LabError::io("create share", &error))?;
        let init = share.join("init.sh");
        write_file(&init, &init_script(&share.to_string_lossy(), network), 0o755)?;
        let mut command = namespace.command("linux.uml");
        command
            .arg(format!("mem={MEMORY_MIB}M"))
            .args(["rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null", "con0=fd:0,fd:1"])
            .arg(format!("init={}", init.display()))
            .arg(format!("uml_dir={}/", share.display()))
            .arg(format!(
                "vec0:transport=raw,ifname={},depth=64,gro=0,mtu={LINK_MTU}",
                network.interface
            ))
            .arg(TUNABLES)
            .env("TMPDIR", memory_folder(&share))
            .stdin(Stdio::piped());
        let filter = small_registers_filter()?;
        let log = lab.log(name);
        Self::start_machine(&share, BOOT_WAIT, |ready, sink| {
            let spawn = || {
                // The filter is the thread's; the program started by it inherits it.
                seccompiler::apply_filter(&filter)
                    .map_err(|error| LabError::new(format!("seccomp filter: {error}")))?;
                Process::spawn_into(name, &mut command, &log, ready, sink)
            };
            std::thread::scope(|scope| scope.spawn(spawn).join())
                .unwrap_or_else(|_| Err(LabError::new("starting UML panicked")))
        })
    }

    /// Sets the MTU of the guest's way to its own network: how large what it sends may be before it
    /// is fragmented.
    ///
    /// # Errors
    /// Where the guest refuses.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        self.check(&route_mtu(mtu), COMMAND_WAIT).map(|_| ())
    }
}

/// Where the file that is the guest's memory may lie: in memory, where a container allows that.
fn memory_folder(otherwise: &Path) -> PathBuf {
    let shm = Path::new("/dev/shm");
    let fits = nix::sys::statvfs::statvfs(shm).is_ok_and(|found| {
        let free_mib = found.blocks_available() * found.fragment_size() / (1024 * 1024);
        free_mib > MEMORY_MIB && !found.flags().contains(FsFlags::ST_NOEXEC)
    });
    if fits { shm.to_owned() } else { otherwise.to_owned() }
}

/// A script that sets the MTU of the connected route.
fn route_mtu(mtu: u16) -> String {
    format!(
        "route=$(ip -4 route show dev vec0 proto kernel | sed 's/ mtu .*//')
ip route change $route dev vec0 proto kernel mtu {mtu}"
    )
}

/// The guest's first program: mounts, modules, network, and then the agent.
fn init_script(share: &str, network: &Network) -> String {
    let address = &network.address;
    let route = route_mtu(ROUTE_MTU);
    format!(
        r#"#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
dmesg -n 1
for folder in /run /tmp /etc/ppp /var /root; do mount -t tmpfs tmpfs $folder; done
mkdir -p /dev/pts /var/run /var/log {SHARE} /run/modules/lib/modules
mount -t devpts devpts /dev/pts
mount -t hostfs none {SHARE} -o {share}
ln -s /usr/lib/uml/modules/$(uname -r) /run/modules/lib/modules/
modprobe -d /run/modules -a l2tp_ppp ppp_async
[ -c /dev/ppp ] || mknod /dev/ppp c 108 0
ip link set lo up
ethtool -K vec0 tx off tso off gso off gro off > /dev/null 2>&1
ip link set vec0 up
ip addr add {address} dev vec0
{route}
sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
sysctl -q -w net.ipv4.conf.all.accept_local=1 net.ipv4.conf.default.accept_local=1
# The raw socket behind vec0 holds about 90 frames: no more of them on the way.
sysctl -q -w net.ipv4.tcp_rmem='4096 131072 262144'
# Local addresses are looked up last, so that a policy can send between two sessions.
ip rule add pref 30000 lookup local && ip rule del pref 0
{agent}"#,
        agent = agent()
    )
}

/// Makes `ptrace` refuse the extended register set (NT_X86_XSTATE).
fn small_registers_filter() -> Result<BpfProgram> {
    const NT_X86_XSTATE: u64 = 0x202;
    const REQUESTS: [u64; 2] = [0x4204, 0x4205]; // PTRACE_GETREGSET, PTRACE_SETREGSET
    let equal = |argument, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
    };
    let rule = |request| SeccompRule::new(vec![equal(0, request)?, equal(2, NT_X86_XSTATE)?]);
    let make = || {
        let rules = REQUESTS.into_iter().map(rule).collect::<std::result::Result<_, _>>()?;
        SeccompFilter::new(
            [(libc::SYS_ptrace, rules)].into(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::EIO.unsigned_abs()),
            std::env::consts::ARCH.try_into()?,
        )?
        .try_into()
    };
    make().map_err(|error: seccompiler::BackendError| {
        LabError::new(format!("seccomp filter: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles() {
        assert!(!small_registers_filter().unwrap().is_empty());
    }
}
