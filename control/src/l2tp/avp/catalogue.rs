//! The attributes that we know: one table (RFC 2661 section 4.4, RFC 3145 section 2, RFC 3308, RFC
//! 4951, RFC 5515).

use super::VALUE_BYTES_MAX;

/// Vendor ID of the attributes that the IETF defines.
const IETF: u16 = 0;
/// Vendor ID of the attributes of access lines (RFC 5515): the DSL Forum's, now Broadband Forum.
const BROADBAND_FORUM: u16 = 3561;
const ANY: u16 = VALUE_BYTES_MAX as u16;

/// An attribute that we know; the order is that of [`CATALOGUE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the RFCs, explained there")]
pub enum Attribute {
    MessageType,
    ResultCode,
    ProtocolVersion,
    FramingCapabilities,
    BearerCapabilities,
    TieBreaker,
    FirmwareRevision,
    HostName,
    VendorName,
    AssignedTunnelId,
    ReceiveWindowSize,
    Challenge,
    Q931CauseCode,
    ChallengeResponse,
    AssignedSessionId,
    CallSerialNumber,
    MinimumBps,
    MaximumBps,
    BearerType,
    FramingType,
    CalledNumber,
    CallingNumber,
    SubAddress,
    TxConnectSpeed,
    PhysicalChannelId,
    InitialReceivedLcpConfreq,
    LastSentLcpConfreq,
    LastReceivedLcpConfreq,
    ProxyAuthenType,
    ProxyAuthenName,
    ProxyAuthenChallenge,
    ProxyAuthenId,
    ProxyAuthenResponse,
    CallErrors,
    Accm,
    RandomVector,
    PrivateGroupId,
    RxConnectSpeed,
    SequencingRequired,
    PppDisconnectCause,
    ControlConnectionDs,
    SessionDs,
    FailoverCapability,
    TunnelRecovery,
    SuggestedControlSequence,
    FailoverSessionState,
    AgentCircuitId,
    AgentRemoteId,
    ActualRateUpstream,
    ActualRateDownstream,
    MinimumRateUpstream,
    MinimumRateDownstream,
    AttainableRateUpstream,
    AttainableRateDownstream,
    MaximumRateUpstream,
    MaximumRateDownstream,
    MinimumLowPowerRateUpstream,
    MinimumLowPowerRateDownstream,
    MaximumDelayUpstream,
    ActualDelayUpstream,
    MaximumDelayDownstream,
    ActualDelayDownstream,
    AccessLoopEncapsulation,
    AccessLineType,
    IwfSession,
}

impl Attribute {
    /// Whether it names a subscriber or proves who it is: what RFC 2661 section 4.3 has hiding for.
    pub fn is_secret(self) -> bool {
        matches!(
            self,
            Self::CallingNumber
                | Self::CalledNumber
                | Self::SubAddress
                | Self::ProxyAuthenName
                | Self::ProxyAuthenChallenge
                | Self::ProxyAuthenResponse
        )
    }
}

/// What we know of an attribute.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Which one.
    pub attribute: Attribute,
    /// SMI enterprise number of who defined it; types of different vendors overlap (docs/peers.md
    /// row 25).
    pub vendor: u16,
    /// Attribute Type.
    pub number: u16,
    /// The RFC's name.
    pub name: &'static str,
    /// The M bit, as we send it: some peers drop a message in which one is not as the RFC says
    /// (docs/peers.md row 37). Received M bits may be anything for a known attribute.
    pub mandatory: bool,
    /// Whether it may be sent hidden.
    pub hideable: bool,
    /// Shortest value that is accepted.
    pub bytes_min: u16,
    /// Longest value that is accepted.
    pub bytes_max: u16,
}

const fn entry(
    attribute: Attribute,
    number: u16,
    name: &'static str,
    (mandatory, hideable): (bool, bool),
    (bytes_min, bytes_max): (u16, u16),
) -> Entry {
    Entry { attribute, vendor: IETF, number, name, mandatory, hideable, bytes_min, bytes_max }
}

/// An attribute of an access line: none has the M bit, all may be hidden (RFC 5515).
const fn line(attribute: Attribute, number: u16, name: &'static str, sizes: (u16, u16)) -> Entry {
    Entry { vendor: BROADBAND_FORUM, ..entry(attribute, number, name, (NO, H), sizes) }
}

const M: bool = true;
const H: bool = true;
const NO: bool = false;

/// Every attribute that we know, by vendor and number. Sizes are the RFC's, wider where peers are
/// known to send more: responses with octets appended, speeds as text (docs/peers.md rows 16, 17).
#[rustfmt::skip]
pub const CATALOGUE: [Entry; 65] = [
    entry(Attribute::MessageType, 0, "Message Type", (M, NO), (2, 2)),
    entry(Attribute::ResultCode, 1, "Result Code", (M, NO), (2, ANY)),
    entry(Attribute::ProtocolVersion, 2, "Protocol Version", (M, NO), (2, 2)),
    entry(Attribute::FramingCapabilities, 3, "Framing Capabilities", (M, H), (4, 4)),
    entry(Attribute::BearerCapabilities, 4, "Bearer Capabilities", (M, H), (4, 4)),
    entry(Attribute::TieBreaker, 5, "Tie Breaker", (NO, NO), (8, 8)),
    entry(Attribute::FirmwareRevision, 6, "Firmware Revision", (NO, H), (2, 2)),
    entry(Attribute::HostName, 7, "Host Name", (M, NO), (1, ANY)),
    entry(Attribute::VendorName, 8, "Vendor Name", (NO, H), (0, ANY)),
    entry(Attribute::AssignedTunnelId, 9, "Assigned Tunnel ID", (M, H), (2, 2)),
    entry(Attribute::ReceiveWindowSize, 10, "Receive Window Size", (M, NO), (2, 2)),
    entry(Attribute::Challenge, 11, "Challenge", (M, H), (1, ANY)),
    entry(Attribute::Q931CauseCode, 12, "Q.931 Cause Code", (M, NO), (3, ANY)),
    entry(Attribute::ChallengeResponse, 13, "Challenge Response", (M, H), (16, ANY)),
    entry(Attribute::AssignedSessionId, 14, "Assigned Session ID", (M, H), (2, 2)),
    entry(Attribute::CallSerialNumber, 15, "Call Serial Number", (M, H), (4, 4)),
    entry(Attribute::MinimumBps, 16, "Minimum BPS", (M, H), (4, 4)),
    entry(Attribute::MaximumBps, 17, "Maximum BPS", (M, H), (4, 4)),
    entry(Attribute::BearerType, 18, "Bearer Type", (M, H), (4, 4)),
    entry(Attribute::FramingType, 19, "Framing Type", (M, H), (4, 4)),
    entry(Attribute::CalledNumber, 21, "Called Number", (M, H), (0, ANY)),
    entry(Attribute::CallingNumber, 22, "Calling Number", (M, H), (0, ANY)),
    entry(Attribute::SubAddress, 23, "Sub-Address", (M, H), (0, ANY)),
    entry(Attribute::TxConnectSpeed, 24, "(Tx) Connect Speed", (M, H), (1, 10)),
    entry(Attribute::PhysicalChannelId, 25, "Physical Channel ID", (NO, H), (4, 4)),
    entry(Attribute::InitialReceivedLcpConfreq, 26, "Initial Received LCP CONFREQ",
        (NO, H), (0, ANY)),
    entry(Attribute::LastSentLcpConfreq, 27, "Last Sent LCP CONFREQ", (NO, H), (0, ANY)),
    entry(Attribute::LastReceivedLcpConfreq, 28, "Last Received LCP CONFREQ", (NO, H), (0, ANY)),
    entry(Attribute::ProxyAuthenType, 29, "Proxy Authen Type", (NO, H), (2, 2)),
    entry(Attribute::ProxyAuthenName, 30, "Proxy Authen Name", (NO, H), (0, ANY)),
    entry(Attribute::ProxyAuthenChallenge, 31, "Proxy Authen Challenge", (NO, H), (1, ANY)),
    entry(Attribute::ProxyAuthenId, 32, "Proxy Authen ID", (NO, H), (2, 2)),
    entry(Attribute::ProxyAuthenResponse, 33, "Proxy Authen Response", (NO, H), (0, ANY)),
    entry(Attribute::CallErrors, 34, "Call Errors", (M, H), (26, 26)),
    entry(Attribute::Accm, 35, "ACCM", (M, H), (10, 10)),
    entry(Attribute::RandomVector, 36, "Random Vector", (M, NO), (0, ANY)),
    entry(Attribute::PrivateGroupId, 37, "Private Group ID", (NO, H), (0, ANY)),
    entry(Attribute::RxConnectSpeed, 38, "Rx Connect Speed", (NO, H), (1, 10)),
    entry(Attribute::SequencingRequired, 39, "Sequencing Required", (M, NO), (0, 0)),
    entry(Attribute::PppDisconnectCause, 46, "PPP Disconnect Cause Code", (NO, H), (5, ANY)),
    entry(Attribute::ControlConnectionDs, 47, "Control Connection DS", (NO, H), (2, 2)),
    entry(Attribute::SessionDs, 48, "Session DS", (NO, H), (2, 2)),
    entry(Attribute::FailoverCapability, 76, "Failover Capability", (NO, H), (6, 6)),
    entry(Attribute::TunnelRecovery, 77, "Tunnel Recovery", (M, H), (0, ANY)),
    entry(Attribute::SuggestedControlSequence, 78, "Suggested Control Sequence",
        (NO, H), (0, ANY)),
    entry(Attribute::FailoverSessionState, 79, "Failover Session State", (NO, H), (0, ANY)),
    line(Attribute::AgentCircuitId, 1, "Agent Circuit ID", (1, ANY)),
    line(Attribute::AgentRemoteId, 2, "Agent Remote ID", (1, ANY)),
    line(Attribute::ActualRateUpstream, 129, "Actual Data Rate Upstream", (4, 8)),
    line(Attribute::ActualRateDownstream, 130, "Actual Data Rate Downstream", (4, 8)),
    line(Attribute::MinimumRateUpstream, 131, "Minimum Data Rate Upstream", (4, 8)),
    line(Attribute::MinimumRateDownstream, 132, "Minimum Data Rate Downstream", (4, 8)),
    line(Attribute::AttainableRateUpstream, 133, "Attainable Data Rate Upstream", (4, 8)),
    line(Attribute::AttainableRateDownstream, 134, "Attainable Data Rate Downstream", (4, 8)),
    line(Attribute::MaximumRateUpstream, 135, "Maximum Data Rate Upstream", (4, 8)),
    line(Attribute::MaximumRateDownstream, 136, "Maximum Data Rate Downstream", (4, 8)),
    line(Attribute::MinimumLowPowerRateUpstream, 137, "Minimum Data Rate Upstream Low-Power",
        (4, 8)),
    line(Attribute::MinimumLowPowerRateDownstream, 138, "Minimum Data Rate Downstream Low-Power",
        (4, 8)),
    line(Attribute::MaximumDelayUpstream, 139, "Maximum Interleaving Delay Upstream", (4, 4)),
    line(Attribute::ActualDelayUpstream, 140, "Actual Interleaving Delay Upstream", (4, 4)),
    line(Attribute::MaximumDelayDownstream, 141, "Maximum Interleaving Delay Downstream", (4, 4)),
    line(Attribute::ActualDelayDownstream, 142, "Actual Interleaving Delay Downstream", (4, 4)),
    line(Attribute::AccessLoopEncapsulation, 144, "Access Loop Encapsulation", (3, 3)),
    line(Attribute::AccessLineType, 145, "ANCP Access Line Type", (4, 4)),
    line(Attribute::IwfSession, 254, "IWF Session", (0, ANY)),
];

impl Attribute {
    /// Its row in the catalogue.
    pub fn entry(self) -> &'static Entry {
        const { assert!(Attribute::IwfSession as usize + 1 == CATALOGUE.len()) };
        #[expect(clippy::indexing_slicing, reason = "the enum is as long as the table")]
        &CATALOGUE[self as usize]
    }
}

/// The row of an attribute, where we know it.
pub(super) fn lookup(vendor: u16, number: u16) -> Option<&'static Entry> {
    let place = CATALOGUE.binary_search_by_key(&(vendor, number), |row| (row.vendor, row.number));
    place.ok().and_then(|place| CATALOGUE.get(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_in_order() {
        for (place, entry) in CATALOGUE.iter().enumerate() {
            assert_eq!(entry.attribute as usize, place, "{}", entry.name);
            assert!(entry.bytes_min <= entry.bytes_max);
        }
        assert!(CATALOGUE.is_sorted_by_key(|entry| (entry.vendor, entry.number)));
        assert!(lookup(0, 20).is_none() && lookup(9, 7).is_none());
    }

    #[test]
    fn catalogue_of_the_rfc() {
        let mut table = String::new();
        for entry in &CATALOGUE {
            let mandatory = if entry.mandatory { "M" } else { "-" };
            let hideable = if entry.hideable { "H" } else { "-" };
            let Entry { vendor, number, name, bytes_min, bytes_max, .. } = entry;
            table += &format!(
                "{vendor:>4} {number:>3} {mandatory}{hideable} {bytes_min:>2}..{bytes_max:<4} \
                 {name}\n"
            );
        }
        insta::assert_snapshot!(table);
    }
}
