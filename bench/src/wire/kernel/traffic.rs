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

/// Frames that leave at once where a rate is given, as in `traffic.bpf.c`, which keeps the pace: a
/// system call for each burst would leave behind more pools of pages than the kernel has numbers for.
const BURST_FRAMES: u32 = 64;

/// System calls a second then.
const CALLS_PER_SECOND: u32 = 50;

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
        if let Some(variables) = &mut self.skeleton.maps.bss_data {
            variables.gap = gap(rate);
        }
        let mut refused = 0;
        while !deadline.passed() {
            match self.send_frames(frames_per_call(rate)) {
                Ok(()) => refused = 0,
                // Pages are asked for without waiting; a moment later there are some again.
                Err(error) if refused >= REFUSED_MAX => return Err(error),
                Err(_) => refused += 1,
            }
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

/// Frames of a system call: whole bursts.
fn frames_per_call(rate: Option<u32>) -> u32 {
    let Some(rate) = rate else { return FLOOD_FRAMES };
    (rate / CALLS_PER_SECOND).next_multiple_of(BURST_FRAMES).max(BURST_FRAMES)
}

/// Nanoseconds from one burst to the next; 0 where there is no rate.
fn gap(rate: Option<u32>) -> u64 {
    rate.map_or(0, |rate| u64::from(BURST_FRAMES) * 1_000_000_000 / u64::from(rate.max(1)))
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
    fn a_flood_is_not_paced_and_a_rate_is_in_bursts() {
        assert_eq!((gap(None), frames_per_call(None)), (0, FLOOD_FRAMES));
        assert_eq!((gap(Some(1_000_000)), frames_per_call(Some(1_000_000))), (64_000, 20_032));
        assert_eq!((gap(Some(1000)), frames_per_call(Some(1000))), (64_000_000, 64));
        assert_eq!(gap(Some(0)), gap(Some(1)));
        assert_eq!(frames_per_call(Some(u32::MAX)) % BURST_FRAMES, 0);
        assert_eq!(FLOOD_FRAMES % BURST_FRAMES, 0);
    }
}
