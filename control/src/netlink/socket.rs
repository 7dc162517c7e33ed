//! The two sockets: changes, and requests with their answers.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use mio::{Interest, Registry, Token};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use tracing::{debug, info, warn};

use super::event::{Event, Origin, decode};
use super::message::{Message, Messages};
use super::request::{DumpPart, KernelRequest};

/// Receive buffer for changes: some 30 thousand route changes, what a routing daemon makes in one
/// go after a session reset. More is lost and dumped again.
const CHANGES_BUFFER_BYTES: usize = 16 << 20;

/// Receive buffer for answers: [`REQUESTS_MAX`] of them and one part of a dump.
const ANSWERS_BUFFER_BYTES: usize = 1 << 20;

/// The largest datagram: the kernel makes dumps of at most 32 KiB, single messages are shorter.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// The most datagrams read from a socket in one turn, so that a dump of a full routing table does
/// not keep the event loop from its other work.
const DATAGRAMS_PER_TURN: usize = 16;

/// The most requests sent and not yet answered; their answers fit [`ANSWERS_BUFFER_BYTES`].
const REQUESTS_MAX: usize = 128;

/// How often a part of a dump that the kernel calls inconsistent is read again before the dump goes
/// on without it being complete.
const DUMP_RETRIES_MAX: u32 = 5;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// A dump under way.
struct Dump {
    part: DumpPart,
    sequence: u32,
    /// The kernel said that this part changed while it was read.
    interrupted: bool,
    retries: u32,
    complete: bool,
}

/// The kernel's routing, heard and asked.
///
/// Getters: [`Self::has_more`]. `handle_*`: none, the kernel speaks through [`Self::receive`].
/// Commands: [`Self::request`], [`Self::register`].
pub struct Netlink {
    changes: Socket,
    answers: Socket,
    datagram: Vec<u8>,
    more: bool,
    sequence: u32,
    in_flight: BTreeMap<u32, KernelRequest>,
    waiting: VecDeque<KernelRequest>,
    dump: Option<Dump>,
    dump_again: bool,
    announce_dump: bool,
    /// Changes were lost, and the queue was not empty since.
    lost: bool,
}

impl Netlink {
    /// Opens both sockets in the network namespace of the calling thread and asks for everything.
    ///
    /// # Errors
    /// What the kernel refused, with the step that failed.
    pub fn new() -> io::Result<Self> {
        let mut changes = open(CHANGES_BUFFER_BYTES)?;
        changes.bind_auto().map_err(|error| context("bind the netlink socket", error))?;
        for group in [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV6_ROUTE,
            libc::RTNLGRP_NEIGH,
            libc::RTNLGRP_IPV4_RULE,
            libc::RTNLGRP_IPV6_RULE,
        ] {
            changes
                .add_membership(group)
                .map_err(|error| context("subscribe to routing changes", error))?;
        }
        let mut answers = open(ANSWERS_BUFFER_BYTES)?;
        answers.bind_auto().map_err(|error| context("bind the netlink socket", error))?;
        // Without it the kernel ignores the filter of a dump (before 4.20); decoding filters again.
        if let Err(error) = answers.set_netlink_get_strict_chk(true) {
            debug!(%error, "the kernel does not filter dumps");
        }
        // Both only make errors more readable.
        let _ = answers.set_ext_ack(true);
        let _ = answers.set_cap_ack(true);
        let mut netlink = Self {
            changes,
            answers,
            datagram: Vec::with_capacity(DATAGRAM_BYTES_MAX),
            more: true,
            sequence: 0,
            in_flight: BTreeMap::new(),
            waiting: VecDeque::new(),
            dump: None,
            dump_again: true,
            announce_dump: false,
            lost: false,
        };
        netlink.send_waiting()?;
        Ok(netlink)
    }

    /// Registers both sockets under one token.
    ///
    /// # Errors
    /// As of mio.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.changes, token, Interest::READABLE)?;
        registry.register(&mut self.answers, token, Interest::READABLE)
    }

    /// Whether [`Self::receive`] has more to read without another readiness event: readiness is
    /// edge-triggered, so the event loop comes back by itself (poll without waiting).
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// Whether requests wait for answers to others.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Asks the kernel; what it refuses comes back as [`Event::Failed`].
    ///
    /// # Errors
    /// The socket is broken.
    pub fn request(&mut self, request: &KernelRequest) -> io::Result<()> {
        match request {
            KernelRequest::Dump => self.dump_again = true,
            _ => self.waiting.push_back(request.clone()),
        }
        self.send_waiting()
    }

    /// Reads the next events, a bounded number of them.
    ///
    /// # Errors
    /// The socket is broken.
    pub fn receive(&mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        // In front of every change that is read after the dump was asked for: the mirror has to
        // know from here on what happened since.
        if std::mem::take(&mut self.announce_dump) {
            events.push(Event::DumpBegun);
        }
        let mut datagram = std::mem::take(&mut self.datagram);
        let changes_left = self.receive_changes(&mut datagram, &mut events);
        let answers_left = self.receive_answers(&mut datagram, &mut events);
        self.datagram = datagram;
        self.more = changes_left? | answers_left?;
        self.send_waiting()?;
        Ok(events)
    }

    /// Returns whether there may be more.
    fn receive_changes(
        &mut self,
        datagram: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        for _ in 0..DATAGRAMS_PER_TURN {
            match read(&self.changes, datagram)? {
                Read::Nothing => {
                    self.dump_again |= std::mem::take(&mut self.lost);
                    return Ok(false);
                }
                Read::Datagram => {
                    for message in Messages(datagram) {
                        push_change(Origin::Live, &message, events);
                    }
                }
                Read::Lost => {
                    info!("routing changes were lost: reading everything again");
                    // The kernel says so in front of what it had queued, and goes on losing
                    // changes, silently, until the queue is empty: a dump before that would miss
                    // them.
                    self.lost = true;
                    if let Some(dump) = &mut self.dump {
                        dump.complete = false;
                    }
                }
            }
        }
        Ok(true)
    }

    /// Returns whether there may be more.
    fn receive_answers(
        &mut self,
        datagram: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> io::Result<bool> {
        for _ in 0..DATAGRAMS_PER_TURN {
            match read(&self.answers, datagram)? {
                Read::Nothing => return Ok(false),
                Read::Datagram => {
                    for message in Messages(datagram) {
                        self.handle_answer(&message, events)?;
                    }
                }
                Read::Lost => {
                    warn!(requests = self.in_flight.len(), "answers of the kernel were lost");
                    self.in_flight.clear();
                    self.dump_again = true;
                    if let Some(dump) = &mut self.dump {
                        dump.complete = false;
                    }
                }
            }
        }
        Ok(true)
    }

    fn handle_answer(&mut self, message: &Message<'_>, events: &mut Vec<Event>) -> io::Result<()> {
        if self.dump.as_ref().is_some_and(|dump| dump.sequence == message.sequence) {
            return self.handle_dump_answer(message, events);
        }
        if message.message_type != NLMSG_ERROR {
            return Ok(());
        }
        let Some(request) = self.in_flight.remove(&message.sequence) else { return Ok(()) };
        let errno = message.errno();
        // A rule that is there already is not replaced.
        let is_there = errno == libc::EEXIST && matches!(request, KernelRequest::AddUplink(_));
        if errno != 0 && !is_there {
            report(&request, errno, &message.explanation());
            events.push(Event::Failed { request, errno });
        }
        Ok(())
    }

    fn handle_dump_answer(
        &mut self,
        message: &Message<'_>,
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        let Some(dump) = &mut self.dump else { return Ok(()) };
        dump.interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
        match message.message_type {
            NLMSG_DONE | NLMSG_ERROR => {}
            _ => {
                push_change(Origin::Dump, message, events);
                return Ok(());
            }
        }
        let errno = message.errno();
        // A table that was never written to does not exist: nothing to read.
        if errno != 0 && errno != libc::ENOENT {
            let error = io::Error::from_raw_os_error(errno);
            warn!(part = ?dump.part, %error, "the kernel did not tell its routing");
            dump.complete = false;
        }
        let again = dump.interrupted && dump.retries < DUMP_RETRIES_MAX;
        let next = if again { Some(dump.part) } else { dump.part.next() };
        dump.complete &= again || !dump.interrupted;
        dump.retries = if again { dump.retries + 1 } else { 0 };
        match next {
            Some(part) => {
                dump.part = part;
                dump.interrupted = false;
                self.send_dump_part(part)
            }
            None => {
                events.push(Event::DumpEnded { complete: dump.complete });
                self.dump = None;
                Ok(())
            }
        }
    }

    fn send_waiting(&mut self) -> io::Result<()> {
        if self.dump_again && self.dump.is_none() {
            self.dump_again = false;
            self.announce_dump = true;
            self.dump = Some(Dump {
                part: DumpPart::FIRST,
                sequence: 0,
                interrupted: false,
                retries: 0,
                complete: !self.lost,
            });
            self.send_dump_part(DumpPart::FIRST)?;
        }
        while self.in_flight.len() < REQUESTS_MAX {
            let Some(request) = self.waiting.pop_front() else { break };
            let sequence = self.next_sequence();
            let Some(octets) = request.encode(sequence) else { continue };
            self.send(&octets).map_err(|error| context(&request.to_string(), error))?;
            self.in_flight.insert(sequence, request);
        }
        Ok(())
    }

    fn send_dump_part(&mut self, part: DumpPart) -> io::Result<()> {
        let sequence = self.next_sequence();
        if let Some(dump) = &mut self.dump {
            dump.sequence = sequence;
        }
        self.send(&part.encode(sequence)).map_err(|error| context("ask for a dump", error))
    }

    fn send(&self, octets: &[u8]) -> io::Result<()> {
        self.answers.send_to(octets, &SocketAddr::new(0, 0), 0).map(|_| ())
    }

    /// Never 0, the number of messages that nobody asked for.
    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.checked_add(1).unwrap_or(1);
        self.sequence
    }
}

fn open(buffer_bytes: usize) -> io::Result<Socket> {
    let socket =
        Socket::new(NETLINK_ROUTE).map_err(|error| context("open a netlink socket", error))?;
    socket.set_non_blocking(true)?;
    // Past the system's limit where we may, up to it where not.
    if setsockopt(&socket, sockopt::RcvBufForce, &buffer_bytes).is_err() {
        setsockopt(&socket, sockopt::RcvBuf, &buffer_bytes)?;
    }
    Ok(socket)
}

fn context(attempt: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{attempt}: {error}"))
}

/// Logs what was refused: loudly what leaves subscribers without a route.
fn report(request: &KernelRequest, errno: i32, explanation: &str) {
    let error = io::Error::from_raw_os_error(errno);
    match request {
        KernelRequest::AddRoute { .. }
        | KernelRequest::AddAddress { .. }
        | KernelRequest::AddUplink(_) => {
            warn!(%error, explanation, "the kernel refused to {request}");
        }
        _ => debug!(%error, explanation, "the kernel refused to {request}"),
    }
}

enum Read {
    /// In the buffer.
    Datagram,
    Nothing,
    /// The receive buffer ran over, or a datagram did not fit.
    Lost,
}

fn read(socket: &Socket, datagram: &mut Vec<u8>) -> io::Result<Read> {
    loop {
        datagram.clear();
        match socket.recv_from(datagram, libc::MSG_TRUNC) {
            Ok((length, _)) if length > datagram.len() => return Ok(Read::Lost),
            // Only the kernel, port 0, is believed.
            Ok((_, sender)) if sender.port_number() != 0 => continue,
            Ok(_) => return Ok(Read::Datagram),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Read::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => {
                return Ok(Read::Lost);
            }
            Err(error) => return Err(context("read routing changes", error)),
        }
    }
}

fn push_change(origin: Origin, message: &Message<'_>, events: &mut Vec<Event>) {
    if matches!(message.message_type, NLMSG_NOOP | NLMSG_ERROR | NLMSG_DONE | NLMSG_OVERRUN) {
        return;
    }
    match decode(message.message_type, message.flags, message.payload) {
        Ok(change) => events.extend(change.map(|change| Event::Changed(origin, change))),
        Err(error) => warn!(
            message_type = message.message_type,
            %error,
            "a message of the kernel was not understood"
        ),
    }
}
