//! The generator and the sink: frames made inside the kernel, counted and dropped at the far end.
//!
//! Frames enter the veth by BPF_PROG_TEST_RUN with live frames, several times as fast as a packet
//! socket sends; the receiving end must have XDP in the driver, or GRO. Their last octets are
//! [`TRAILER`], by which the sink knows them in whatever headers they arrive.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::time::Duration;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, ProgramInput, TC_INGRESS, TcHookBuilder};
use xlns_tests::deadline::Deadline;
use xlns_tests::{LabError, Result};

/// What libbpf-cargo makes of `traffic.bpf.c`.
#[allow(missing_docs, clippy::all, clippy::undocumented_unsafe_blocks, reason = "generated")]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/traffic.skel.rs"));
}

/// What frames to be counted end with.
pub const TRAILER: [u8; 4] = *b"xlns";

/// Octets of a frame at most: a page less what the kernel keeps before and behind.
pub const FRAME_BYTES_MAX: usize = 3072;

/// Octets in which frames may differ, from the first one on, as in `traffic.bpf.c`.
pub const HEAD_BYTES_MAX: usize = 128;

/// BPF_F_TEST_XDP_LIVE_FRAMES of the kernel's interface: frames are sent, not only looked at.
const LIVE_FRAMES: u32 = 1 << 1;

/// The loopback's interface index in every namespace.
const LOOPBACK_INDEX: i32 = 1;

/// Frames a system call while flooding: setting a test run up costs as much as some frames.
const FLOOD_FRAMES: u32 = 8192;

/// Frames a system call at a given rate, at least and at most: few enough for a receive ring.
const PACED_FRAMES: [u32; 2] = [64, 1024];

/// How often in a row the kernel may refuse to send for want of memory.
const REFUSED_MAX: u32 = 100;

/// What left.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Frames.
    pub frames: u64,
    /// From the first to the last.
    pub elapsed: Duration,
}

/// What arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Packets of a generator.
    pub packets: u64,
    /// Their octets, with the Ethernet header.
    pub octets: u64,
    /// Frames that are nothing of ours, which went on.
    pub others: u64,
}

/// Sends the same frames in turn, and counts what arrives elsewhere.
pub struct Traffic {
    skeleton: skeleton::TrafficSkel<'static>,
    generator: Option<Link>,
    /// A frame, of which the head is written anew each time.
    frame: Vec<u8>,
}

impl Traffic {
    /// Loads the programs: `frames`, all of one length and alike from [`HEAD_BYTES_MAX`] on, leave by
    /// `interface_index`.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn load(
        frames: impl ExactSizeIterator<Item = Vec<u8>>,
        interface_index: u32,
    ) -> Result<Self> {
        let mut frames = frames.peekable();
        let count = frames.len() as u32;
        let frame = frames.peek().cloned().unwrap_or_default();
        debug_assert!(frame.len() <= FRAME_BYTES_MAX);
        // The skeleton borrows the place where its object lies: a pointer's worth a direction, left
        // behind once in a process's life.
        let place = Box::leak(Box::new(MaybeUninit::uninit()));
        let error = |error| failed("load the generator", &error);
        let mut open = skeleton::TrafficSkelBuilder::default().open(place).map_err(error)?;
        open.maps.heads.set_max_entries(count).map_err(error)?;
        if let Some(constants) = &mut open.maps.rodata_data {
            constants.head_bytes = frame.len().min(HEAD_BYTES_MAX) as u32;
            constants.frame_count = count;
            constants.out_ifindex = interface_index;
            constants.trailer = u32::from_ne_bytes(TRAILER);
        }
        let skeleton = open.load().map_err(error)?;
        for (index, mut head) in frames.enumerate() {
            debug_assert_eq!(head.get(HEAD_BYTES_MAX..), frame.get(HEAD_BYTES_MAX..));
            head.resize(HEAD_BYTES_MAX, 0);
            let key = (index as u32).to_ne_bytes();
            skeleton.maps.heads.update(&key, &head, MapFlags::ANY).map_err(error)?;
        }
        Ok(Self { skeleton, generator: None, frame })
    }

    /// Attaches the generator to the loopback of this thread's namespace, where nothing is sent.
    /// The kernel keeps a direct jump to every program that is attached; for another one it would
    /// make one at each call of [`Traffic::send_frames`] and wait for all cores, some milliseconds.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach_generator(&mut self) -> Result<()> {
        let link = self.skeleton.progs.generate.attach_xdp(LOOPBACK_INDEX);
        self.generator = Some(link.map_err(|error| failed("attach the generator", &error))?);
        Ok(())
    }

    /// Detaches the generator, to make room for another one.
    pub fn detach_generator(&mut self) {
        self.generator = None;
    }

    /// Counts and drops what arrives on an interface of this thread's namespace, in the driver, until
    /// the link is dropped.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach_drop(&self, interface_index: u32) -> Result<Link> {
        let link = self.skeleton.progs.drop.attach_xdp(index(interface_index)?);
        link.map_err(|error| failed("attach the counter of frames", &error))
    }

    /// Has an interface of this thread's namespace take live frames, as an XDP program that forwards
    /// would, until the link is dropped.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach_pass(&self, interface_index: u32) -> Result<Link> {
        let link = self.skeleton.progs.pass.attach_xdp(index(interface_index)?);
        link.map_err(|error| failed("attach an XDP program", &error))
    }

    /// Counts and drops what arrives on an interface of this thread's namespace. Another sink there
    /// is replaced.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn attach_sink(&self, interface_index: u32) -> Result<()> {
        let error = |error| failed("attach the sink", &error);
        let mut hook = TcHookBuilder::new(self.skeleton.progs.sink.as_fd())
            .ifindex(index(interface_index)?)
            .replace(true)
            .handle(1)
            .priority(1)
            .hook(TC_INGRESS);
        // Where it is there already, libbpf would say so on the error output.
        let printer = libbpf_rs::set_print(None);
        let created = hook.create();
        libbpf_rs::set_print(printer);
        created.and_then(|mut hook| hook.attach()).map_err(error)?;
        Ok(())
    }

    /// Sends for `span`, as fast as it goes or at `rate` frames a second at most. From a thread in the
    /// namespace of the interface.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send(&mut self, span: Duration, rate: Option<u32>) -> Result<Sent> {
        let deadline = Deadline::after(span);
        let before = self.made();
        let (mut passed, mut refused) = (0, 0);
        while !deadline.passed() {
            let Some((burst, late)) = burst(rate, passed, deadline.elapsed()) else {
                std::hint::spin_loop();
                continue;
            };
            match self.send_frames(burst) {
                Ok(()) => refused = 0,
                // Pages are asked for without waiting; a moment later there are some again.
                Err(error) if refused >= REFUSED_MAX => return Err(error),
                Err(_) => refused += 1,
            }
            passed += u64::from(burst) + late;
        }
        Ok(Sent { frames: self.made() - before, elapsed: deadline.elapsed() })
    }

    /// Frames that were made so far.
    fn made(&self) -> u64 {
        self.skeleton.maps.bss_data.as_ref().map_or(0, |variables| variables.made)
    }

    /// Sends so many frames at once.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn send_frames(&mut self, count: u32) -> Result<()> {
        let input = ProgramInput {
            data_in: Some(&self.frame),
            flags: LIVE_FRAMES,
            repeat: count,
            ..ProgramInput::default()
        };
        self.skeleton
            .progs
            .generate
            .test_run(input)
            .map(|_| ())
            .map_err(|error| failed("send live frames (Linux 5.18)", &error))
    }

    /// What arrived so far.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn delivered(&self) -> Result<Delivered> {
        let counters = &self.skeleton.maps.delivered;
        let cpus = counters
            .lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(|error| failed("read the sink's counters", &error))?;
        let mut total = Delivered::default();
        for cpu in cpus.iter().flatten() {
            if let [packets, octets, others] = cpu.as_chunks().0 {
                total.packets += u64::from_ne_bytes(*packets);
                total.octets += u64::from_ne_bytes(*octets);
                total.others += u64::from_ne_bytes(*others);
            }
        }
        Ok(total)
    }
}

/// How many frames are due, and how many more are let go: a generator that was kept from its core
/// must not make up for it in one flood. `None`: too few to send now. `passed` were sent or let go.
fn burst(rate: Option<u32>, passed: u64, elapsed: Duration) -> Option<(u32, u64)> {
    let Some(rate) = rate else { return Some((FLOOD_FRAMES, 0)) };
    let [least, most] = PACED_FRAMES.map(u64::from);
    let due = (elapsed.as_secs_f64() * f64::from(rate)) as u64;
    let due = due.saturating_sub(passed);
    (due >= least).then(|| (due.min(most) as u32, due.saturating_sub(most)))
}

fn index(interface_index: u32) -> Result<i32> {
    i32::try_from(interface_index).map_err(|_| LabError::new("no interface has such an index"))
}

fn failed(attempt: &str, error: &libbpf_rs::Error) -> LabError {
    LabError::new(format!("{attempt}: {error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_not_paced() {
        assert_eq!(burst(None, 1 << 40, Duration::ZERO), Some((FLOOD_FRAMES, 0)));
    }

    #[test]
    fn a_rate_is_kept_in_bursts_that_a_ring_holds() {
        let second = Duration::from_secs(1);
        assert_eq!(burst(Some(1000), 0, Duration::from_millis(63)), None);
        assert_eq!(burst(Some(1000), 0, Duration::from_millis(64)), Some((64, 0)));
        assert_eq!(burst(Some(1_000_000), 999_000, second), Some((1000, 0)));
        assert_eq!(burst(Some(1_000_000), 998_975, second), Some((1024, 1)), "behind");
        assert_eq!(burst(Some(1_000_000), 1_000_100, second), None, "ahead");
        let (frames, late) = burst(Some(u32::MAX), 0, 10_000 * second).unwrap();
        assert_eq!(u64::from(frames) + late, 10_000 * u64::from(u32::MAX));
    }
}
