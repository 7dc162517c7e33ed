//! A real kernel as the peer: User-Mode Linux with the root of this machine, read-only.
//!
//! The guest runs a small shell agent on its console. A job is a script in a folder shared by
//! hostfs; its number is written to the console, its lines come back with the number in front, its
//! end as a status. The end of the console's input, also by our own end, halts the guest.
//!
//! UML 6.1 saves a guest's vector registers in a buffer that is too small on hosts with AMX, and
//! the guest dies at its first instruction. A seccomp filter takes the larger register set away, so
//! that UML falls back to the registers of SSE; in return the guest's C library is told to leave
//! AVX alone, whose registers nobody saves any more.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::statvfs::FsFlags;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::deadline;
use crate::netns::Netns;
use crate::output::Output;
use crate::process::Process;
use crate::{Lab, LabError, Result};

/// A boot takes 2 to 3 s on an idle machine.
const BOOT_WAIT: Duration = Duration::from_secs(60);

/// How long a halt may take.
const HALT_WAIT: Duration = Duration::from_secs(5);

/// How long a command may take that takes an instant on an idle machine.
const COMMAND_WAIT: Duration = Duration::from_secs(20);

/// Memory of the guest.
const MEMORY_MIB: u64 = 256;

/// The largest MTU of the guest's link: its driver takes no larger one once it runs, and an IP packet
/// of 1500 octets with everything around it has to fit. Its route says what is used of it.
const LINK_MTU: u16 = 1600;

/// What is used unless a test says otherwise.
const ROUTE_MTU: u16 = 1500;

/// Begins what the agent itself says, after the job's number.
const MARK: char = '\u{1}';

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

/// A guest; dropped, it is halted.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    console: Mutex<ChildStdin>,
    jobs: Jobs,
    share: PathBuf,
}

type Jobs = Arc<Mutex<BTreeMap<u32, Job>>>;

/// A script that runs, or ran, in the guest.
#[derive(Debug, Clone, Default)]
pub struct Job {
    output: Output,
    state: Arc<Mutex<JobState>>,
}

#[derive(Debug, Default)]
struct JobState {
    process_id: Option<u32>,
    status: Option<i32>,
}

impl Job {
    /// Its lines, both streams.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Its process ID in the guest, once it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.state().process_id
    }

    /// Its exit status, once it has ended.
    pub fn status(&self) -> Option<i32> {
        self.state().status
    }

    fn state(&self) -> MutexGuard<'_, JobState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        let jobs = Jobs::default();
        let ready = Output::default();
        let sink = console_sink(ready.clone(), Arc::clone(&jobs));
        let filter = small_registers_filter()?;
        let log = lab.log(name);
        let spawn = || {
            // The filter is the thread's; the program started by it inherits it.
            seccompiler::apply_filter(&filter)
                .map_err(|error| LabError::new(format!("seccomp filter: {error}")))?;
            Process::spawn_into(name, &mut command, &log, ready, sink)
        };
        let mut process = std::thread::scope(|scope| scope.spawn(spawn).join())
            .unwrap_or_else(|_| Err(LabError::new("starting UML panicked")))?;
        let console =
            process.take_stdin().ok_or_else(|| LabError::new("UML without its console"))?;
        process.wait_line(BOOT_WAIT, "guest ready")?;
        Ok(Self { process, console: Mutex::new(console), jobs, share })
    }

    /// Writes a file that the guest sees; hands out its path there.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<String> {
        write_file(&self.share.join(name), text, 0o600)?;
        Ok(format!("{SHARE}/{name}"))
    }

    /// Starts a script in the guest.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn start(&self, script: &str) -> Result<Job> {
        let job = Job::default();
        let number = {
            let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
            let number = jobs.last_key_value().map_or(1, |(last, _)| last + 1);
            jobs.insert(number, job.clone());
            number
        };
        self.write(&format!("{number}.sh"), script)?;
        let mut console = self.console.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(console, "{number}").map_err(|_| self.error("the guest is gone".to_owned()))?;
        Ok(job)
    }

    /// Runs a script to its end; the status is not looked at.
    ///
    /// # Errors
    /// Where it does not end in `wait`.
    pub fn run(&self, script: &str, wait: Duration) -> Result<Job> {
        let job = self.start(script)?;
        if self.wait(&job, wait).is_none() {
            let text = job.output().text();
            return Err(self.error(format!("in the guest, {script:?} did not end: {text}")));
        }
        Ok(job)
    }

    /// Runs a script that must succeed; hands out what it wrote.
    ///
    /// # Errors
    /// Where it fails or does not end in `wait`.
    pub fn check(&self, script: &str, wait: Duration) -> Result<String> {
        let job = self.run(script, wait)?;
        let text = job.output().text();
        match job.status() {
            Some(0) => Ok(text),
            status => {
                Err(self.error(format!("in the guest, {script:?} ended with {status:?}: {text}")))
            }
        }
    }

    /// Waits for a job's status.
    pub fn wait(&self, job: &Job, wait: Duration) -> Option<i32> {
        deadline::poll(wait, || job.status())
    }

    /// Sets the MTU of the guest's way to its own network: how large what it sends may be before it
    /// is fragmented.
    ///
    /// # Errors
    /// Where the guest refuses.
    pub fn set_mtu(&self, mtu: u16) -> Result<()> {
        self.check(&route_mtu(mtu), COMMAND_WAIT).map(|_| ())
    }

    /// Sends a signal to a job.
    ///
    /// # Errors
    /// Where the guest is gone.
    pub fn signal(&self, job: &Job, signal: &str) -> Result<()> {
        let id = deadline::poll(HALT_WAIT, || job.process_id())
            .ok_or_else(|| self.error("a job that never started".to_owned()))?;
        self.run(&format!("kill -{signal} {id}"), HALT_WAIT).map(|_| ())
    }

    /// An error that the console's log explains.
    pub fn error(&self, what: String) -> LabError {
        LabError::with_log(what, self.process.log())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let console = self.console.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(console, "halt");
        let _ = self.process.wait(HALT_WAIT);
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

/// Where the guest sees the shared folder.
pub const SHARE: &str = "/run/share";

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
job() {{
    {{
        sh -c 'printf "\001pid %s\n" $$; exec sh {SHARE}/'$1.sh 2>&1 < /dev/null
        printf '\001status %s\n' $?
    }} | sed -u "s/^/$1:/"
}}
stty raw -echo
echo guest ready
while read -r number; do
    [ "$number" = halt ] && break
    job "$number" &
done
halt -f -p || echo o > /proc/sysrq-trigger
"#
    )
}

/// Sorts the console's lines: a job's to the job, the rest to `console`.
fn console_sink(console: Output, jobs: Jobs) -> impl FnMut(String) + Send {
    move |line| {
        let Some((number, text)) =
            line.split_once(':').and_then(|(number, text)| Some((number.parse().ok()?, text)))
        else {
            console.push(line);
            return;
        };
        let number: u32 = number;
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        let Some(job) = job else { return };
        // A last line without its newline stands in front of the mark.
        let (text, said) = text.split_once(MARK).map_or((text, None), |(a, b)| (a, Some(b)));
        if said.is_none() || !text.is_empty() {
            job.output.push(text.to_owned());
        }
        match said.and_then(|said| said.split_once(' ')) {
            Some(("pid", id)) => job.state().process_id = id.parse().ok(),
            Some(("status", status)) => {
                job.state().status = status.parse().ok();
                job.output.close();
            }
            _ => {}
        }
    }
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

fn write_file(path: &Path, text: &str, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let attempt = format!("write {}", path.display());
    std::fs::write(path, text).map_err(|error| LabError::io(&attempt, &error))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(|error| LabError::io(&attempt, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn console_lines_find_their_job() {
        let (console, jobs) = (Output::default(), Jobs::default());
        let job = Job::default();
        jobs.lock().unwrap().insert(7, job.clone());
        let mut sink = console_sink(console.clone(), jobs);
        for line in ["booting: yes", "7:\u{1}pid 42", "7:a: line", "8:nobody", "7:end\u{1}status 3"]
        {
            sink(line.to_owned());
        }
        assert_eq!(console.lines(), ["booting: yes"]);
        assert_eq!(job.output().lines(), ["a: line", "end"]);
        assert_eq!((job.process_id(), job.status()), (Some(42), Some(3)));
    }

    #[test]
    fn the_filter_compiles() {
        assert!(!small_registers_filter().unwrap().is_empty());
    }
}
