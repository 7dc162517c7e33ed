//! What happened to messages and calls, each under its own name.

macro_rules! lns_counters {
    ($($variant:ident, $name:literal, $text:literal;)*) => {
        /// What is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum LnsCounter { $(#[doc = $text] $variant,)* }

        impl LnsCounter {
            /// All of them, in the order of their counts.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

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

lns_counters! {
    HeaderMalformed, "header_malformed", "Datagrams that are no L2TPv2: cut short, another version, a length or offset that leads outside.";
    ControlNoSuchTunnel, "control_no_such_tunnel", "Control messages for a tunnel ID that is not in use.";
    ControlOuterAddress, "control_outer_address", "Control messages of a known tunnel from another address or port.";
    ControlWithoutTunnel, "control_without_tunnel", "Control messages with tunnel ID 0 that neither start nor stop a tunnel.";
    SetupMalformed, "setup_malformed", "SCCRQs that could not be decoded or lack a mandatory AVP.";
    SetupRateLimited, "setup_rate_limited", "SCCRQs over the rate of their source or of all.";
    SetupRefused, "setup_refused", "SCCRQs answered with StopCCN: a limit is reached or no profile matches.";
    SetupDuplicate, "setup_duplicate", "Retransmitted SCCRQs that found their tunnel.";
    SetupDisplaced, "setup_displaced", "Tunnels that were not established yet and made room for newer ones: a flood of SCCRQs.";
    SetupReplaced, "setup_replaced", "Tunnels replaced by a new SCCRQ of a peer that had started anew.";
    SetupCrossed, "setup_crossed", "SCCRQs that met one of ours to the same peer, and one of the two was dropped (Tie Breaker).";
    PortFollowed, "port_followed", "Tunnels whose peer was followed to another UDP port.";
    TunnelsOpened, "tunnels_opened", "Tunnels that reached established.";
    TunnelsClosed, "tunnels_closed", "Tunnels that ended, for whatever reason.";
    CallsOffered, "calls_offered", "Incoming calls.";
    CallsRefused, "calls_refused", "Calls refused: a limit is reached, or the data plane is away.";
    CallsPlaced, "calls_placed", "Outgoing calls that a LAC was asked for.";
    CallsConnected, "calls_connected", "Calls whose ICCN or OCCN arrived.";
    CallsUp, "calls_up", "Calls whose subscriber got an address and can send packets.";
    CallsEnded, "calls_ended", "Calls that ended, for whatever reason.";
    CallsReplaced, "calls_replaced", "Calls ended because their user came once more than it may.";
    AuthenticationAccepted, "authentication_accepted", "Subscribers whose name and proof were right.";
    AuthenticationRefused, "authentication_refused", "Subscribers whose name or proof was wrong.";
    PoolExhausted, "pool_exhausted", "Subscribers refused because no address was free.";
    PrefixesExhausted, "prefixes_exhausted", "Subscribers let in without IPv6 because no /64 was free.";
    PrefixesDelegated, "prefixes_delegated", "Prefixes delegated by DHCPv6, renewals not counted.";
    DelegationExhausted, "delegation_exhausted", "Subscribers that asked for a prefix when none was free.";
    Ipv6WithoutEffect, "ipv6_without_effect", "IPv6 packets to the LNS itself that were malformed, too many, or not for it.";
    InformAnswered, "inform_answered", "DHCPINFORMs of subscribers answered with routes, name servers and domain.";
    InformIgnored, "inform_ignored", "DHCP messages that were no DHCPINFORM of a session's own address, or too many.";
    ForwardingRefused, "forwarding_refused", "Sessions that the data plane refused to carry.";
    CommandsRefused, "commands_refused", "Routes, neighbours and addresses that the data plane refused.";
    DataNoSuchTunnel, "data_no_such_tunnel", "Data messages on the control socket for an unknown tunnel.";
    DataNoSuchSession, "data_no_such_session", "Data messages on the control socket for an unknown session.";
    DataOuterAddress, "data_outer_address", "Data messages on the control socket from another address or port than their tunnel's.";
    DataHeldEarly, "data_held_early", "PPP frames that came before ICCN and were held.";
    PppWithoutEffect, "ppp_without_effect", "PPP frames that were malformed, or had no meaning in the state of their link.";
    DataTooEarly, "data_too_early", "PPP frames that came before ICCN and found no room.";
}

/// One count for each [`LnsCounter`].
#[derive(Debug, Clone)]
pub struct LnsCounters([u64; LnsCounter::ALL.len()]);

impl Default for LnsCounters {
    fn default() -> Self {
        Self([0; LnsCounter::ALL.len()])
    }
}

impl LnsCounters {
    /// Counts one.
    pub fn add(&mut self, counter: LnsCounter) {
        if let Some(count) = self.0.get_mut(counter as usize) {
            *count += 1;
        }
    }

    /// The count.
    pub fn value(&self, counter: LnsCounter) -> u64 {
        self.0.get(counter as usize).copied().unwrap_or(0)
    }
}
