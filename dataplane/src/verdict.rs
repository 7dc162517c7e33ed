//! What becomes of a frame, and the one list of reasons why frames are dropped.
//!
//! The list makes the enum, the metric's label and the sentence that operators read. Every frame
//! received ends in exactly one [`Verdict`]; received = sum of verdicts, in every test.

use crate::port::PortId;

/// A share of the sessions, by their IDs: see [`crate::pipeline::spread`].
pub type Share = u8;

/// What becomes of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Sent on this port, rewritten in place; `xlns0` among the ports.
    Transmit(PortId),
    /// Not sent: counted under its reason, the frame recycled.
    Drop(DropReason),
    /// As it was received, for the worker that has this share of the sessions.
    Handoff(Share),
    /// Its octets wait for the other fragments of a datagram: the frame is recycled. It will have been
    /// dropped, or become part of the datagram.
    Hold,
    /// An Echo-Reply that one of our requests waited for: measured, the frame recycled.
    Measured,
}

macro_rules! drop_reasons {
    ($($(#[$meta:meta])* $variant:ident, $name:literal, $text:literal;)*) => {
        /// Why a frame was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason { $(#[doc = $text] $variant,)* }

        impl DropReason {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Number of reasons.
            pub const COUNT: usize = Self::ALL.len();

            /// The metric's label.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The sentence for operators.
            pub fn explanation(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

drop_reasons! {
    EthernetShort, "ethernet_short", "The frame ends inside its Ethernet or 802.1Q header.";
    EthernetType, "ethernet_type", "Neither IPv4 nor IPv6 behind at most two tags.";
    Ipv4Malformed, "ipv4_malformed", "Outer or routed IPv4 header with a bad version, length or total length.";
    Ipv4Checksum, "ipv4_checksum", "The IPv4 header checksum is wrong.";
    Ipv6Malformed, "ipv6_malformed", "Outer or routed IPv6 header with a bad version or length.";
    UdpMalformed, "udp_malformed", "The UDP length disagrees with the IP packet.";
    L2tpMalformed, "l2tp_malformed", "The L2TP header is cut short, or its length or offset leads outside the datagram.";
    L2tpVersion, "l2tp_version", "Not version 2 of L2TP.";
    L2tpControl, "l2tp_control", "An L2TP control message reached a worker: the kernel handles those.";
    NoSuchSession, "no_such_session", "No session has this tunnel ID and session ID.";
    OuterAddress, "outer_address", "The session's tunnel has another outer address or UDP port.";
    PppMalformed, "ppp_malformed", "The PPP frame ends before its protocol number.";
    PppProtocol, "ppp_protocol", "A PPP protocol that workers do not carry.";
    NoNetworkProtocol, "no_network_protocol", "The session has not agreed on this network protocol.";
    InnerMalformed, "inner_malformed", "The subscriber's IP header has a bad version or length.";
    InnerSource, "inner_source", "The subscriber's source address does not belong to the session.";
    EchoMalformed, "echo_malformed", "The LCP echo packet is cut short or its length is wrong.";
    EchoReply, "echo_reply", "An LCP Echo-Reply that nobody waits for: to no request, or the second one to it.";
    EchoLate, "echo_late", "An LCP Echo-Reply that came after its request was given up as lost.";
    EchoLooped, "echo_looped", "An LCP Echo-Request that carries our own magic number.";
    TtlExceeded, "ttl_exceeded", "The TTL or hop limit ran out.";
    NoRoute, "no_route", "No route leads to the destination.";
    Unreachable, "unreachable", "The route says unreachable, or no session has this subscriber address.";
    DestinationInvalid, "destination_invalid", "The destination may not be forwarded to: unspecified, loopback, link-local or multicast.";
    SourceInvalid, "source_invalid", "The source may not be forwarded from: unspecified, loopback, link-local or multicast.";
    SessionLoop, "session_loop", "It came out of a session that we dialled, and its route leads back into it.";
    TooBig, "too_big", "Larger than the subscriber's MRU or the link's MTU, and it may not be fragmented.";
    Late, "late", "Its sequence number is past: it was overtaken on the way, or came twice.";
    Policed, "policed", "Over the rate that the session has.";
    UdpChecksum, "udp_checksum", "The outer UDP checksum is wrong.";
    EcnMarked, "ecn_marked", "Marked for congestion on its way through the tunnel, and the inner packet cannot carry the mark.";
    NoFrame, "no_frame", "No frame was left for the fragments of a packet.";
    FragmentMalformed, "fragment_malformed", "A fragment of a tunnel packet with a length that no part of a datagram has, or one too many.";
    FragmentTooLong, "fragment_too_long", "A fragment of a tunnel packet that is longer than any packet that fits here.";
    FragmentDuplicate, "fragment_duplicate", "A fragment of a tunnel packet that is there already.";
    FragmentOverlap, "fragment_overlap", "Fragments of a tunnel packet that overlap: all of them.";
    FragmentDisplaced, "fragment_displaced", "Fragments that waited for the rest of their tunnel packet, and were too many.";
    FragmentTimeout, "fragment_timeout", "Fragments that waited for the rest of their tunnel packet, which never came.";
    HostLoop, "host_loop", "The host sent it to a worker and the route leads back to the host.";
    NeighborUnknown, "neighbor_unknown", "The tunnel peer's link-layer address is not known yet.";
    TransmitFull, "transmit_full", "The transmit ring of the port was full.";
    HandoffFull, "handoff_full", "The worker that has this share of the sessions is too far behind to take more.";
    HostFull, "host_full", "The queue of the TUN device towards the host was full.";
}
