//! One port: its instance of the program, its sockets, counters and attachment.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, RawFd};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, ProgramInput};

use crate::config::{BUCKETS, Bucket, Mode, PortSteer};
use crate::error::SteerError;
use crate::link::XdpLink;
use crate::reason::Reason;
use crate::shared::Shared;
use crate::skeleton::{OpenSteerSkel, SteerSkel, SteerSkelBuilder};

/// What the program said about a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The program failed.
    Aborted,
    /// The frame is dropped.
    Drop,
    /// The kernel gets it.
    Pass,
    /// Sent back out of the port; never by this program.
    Transmit,
    /// To the AF_XDP socket.
    Redirect,
}

/// The result of a test run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestRun {
    /// What the last run said.
    pub action: Action,
    /// Average duration of a run.
    pub duration_ns: u32,
}

/// A loaded instance.
pub(crate) struct Port {
    config: PortSteer,
    skeleton: SteerSkel<'static>,
    attached: Option<(Mode, XdpLink)>,
}

impl Port {
    /// Loads an instance for one port onto the shared maps.
    pub(crate) fn load(
        config: &PortSteer,
        l2tp_port_count: u16,
        buckets: &[Bucket; BUCKETS],
        shared: &Shared,
    ) -> Result<Self, SteerError> {
        if config.queues == 0 {
            return Err(SteerError::NoQueues { interface: config.interface.clone() });
        }
        let skeleton = load(config, l2tp_port_count, buckets, shared).map_err(|source| {
            SteerError::Load { interface: Some(config.interface.clone()), source }
        })?;
        Ok(Self { config: config.clone(), skeleton, attached: None })
    }

    pub(crate) fn attach(&mut self, mode: Mode) -> Result<(), SteerError> {
        let interface = self.config.interface.clone();
        if self.attached.is_some() {
            return Err(SteerError::Attached { interface });
        }
        let program = self.skeleton.progs.steer.as_fd();
        let link = XdpLink::attach(program, self.config.ifindex, mode)
            .map_err(|source| SteerError::Attach { interface, mode, source })?;
        self.attached = Some((mode, link));
        Ok(())
    }

    pub(crate) fn detach(&mut self) {
        self.attached = None;
    }

    pub(crate) fn mode(&self) -> Option<Mode> {
        self.attached.as_ref().map(|(mode, _)| *mode)
    }

    pub(crate) fn set_socket(&mut self, queue: u32, socket: RawFd) -> Result<(), SteerError> {
        let value = socket.to_ne_bytes();
        self.skeleton.maps.sockets.update(&queue.to_ne_bytes(), &value, MapFlags::ANY).map_err(
            |source| SteerError::Socket {
                interface: self.config.interface.clone(),
                queue,
                queues: self.config.queues,
                source,
            },
        )
    }

    /// Entries that are not there are no error.
    pub(crate) fn remove_sockets(&mut self) {
        for queue in 0..self.config.queues {
            let _ = self.skeleton.maps.sockets.delete(&u32::from(queue).to_ne_bytes());
        }
    }

    pub(crate) fn set_mac(&mut self, mac: [u8; 6]) {
        let [a, b, c, d, e, f] = mac;
        if let Some(variables) = &mut self.skeleton.maps.bss_data {
            variables.port_mac = u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]);
        }
    }

    /// Every reason and its frames, all CPUs together.
    pub(crate) fn counters(&self) -> Vec<(Reason, u64)> {
        let mut totals = vec![0_u64; Reason::ALL.len()];
        // The one entry of an array is always there; a refusal is a lack of memory.
        match self.skeleton.maps.counters.lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY) {
            Ok(values) => {
                for cpu in values.iter().flatten() {
                    for (total, count) in totals.iter_mut().zip(cpu.as_chunks().0) {
                        *total = total.wrapping_add(u64::from_ne_bytes(*count));
                    }
                }
            }
            Err(error) => tracing::warn!(
                interface = self.config.interface,
                %error,
                "cannot read the steering program's counters"
            ),
        }
        Reason::ALL.iter().copied().zip(totals).collect()
    }

    pub(crate) fn test_run(&self, frame: &[u8], repeat: u32) -> Result<TestRun, SteerError> {
        let input = ProgramInput { data_in: Some(frame), repeat, ..ProgramInput::default() };
        let output = self.skeleton.progs.steer.test_run(input).map_err(|source| {
            SteerError::TestRun { interface: self.config.interface.clone(), source }
        })?;
        let action = match output.return_value {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Transmit,
            4 => Action::Redirect,
            _ => Action::Aborted,
        };
        Ok(TestRun { action, duration_ns: output.duration.subsec_nanos() })
    }
}

fn load(
    config: &PortSteer,
    l2tp_port_count: u16,
    buckets: &[Bucket; BUCKETS],
    shared: &Shared,
) -> libbpf_rs::Result<SteerSkel<'static>> {
    // The binding's skeleton borrows the place where its object lies. A pointer's worth of memory a
    // port, once in a process's life, is left behind, so that no structure refers to itself.
    let place = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut open = SteerSkelBuilder::default().open(place)?;
    open.maps.sockets.set_max_entries(config.queues.into())?;
    shared.lend(&mut open)?;
    write_constants(&mut open, config, l2tp_port_count, buckets);
    open.load()
}

fn write_constants(
    open: &mut OpenSteerSkel<'_>,
    config: &PortSteer,
    l2tp_port_count: u16,
    buckets: &[Bucket; BUCKETS],
) {
    if let Some(constants) = &mut open.maps.rodata_data {
        constants.l2tp_port_count = l2tp_port_count;
        constants.core_port = config.core.into();
        constants.bucket_interval_ns = buckets.map(|bucket| bucket.interval_ns);
        constants.bucket_tolerance_ns = buckets.map(|bucket| bucket.tolerance_ns);
    }
}
