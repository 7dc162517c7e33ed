//! The attributes that we know (RFC 2661 section 4.4, RFC 3145 section 2): one table.

use super::VALUE_BYTES_MAX;

/// Vendor ID of the attributes that the IETF defines.
const IETF: u16 = 0;
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

const M: bool = true;
const H: bool = true;
const NO: bool = false;

/// Every attribute that we know, by vendor and number. Sizes are the RFC's, wider where peers are
/// known to send more: responses with octets appended, speeds as text (docs/peers.md rows 16, 17).
#[rustfmt::skip]
pub const CATALOGUE: [Entry; 40] = [
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
];

impl Attribute {
    /// Its row in the catalogue.
    pub fn entry(self) -> &'static Entry {
        const { assert!(Attribute::PppDisconnectCause as usize + 1 == CATALOGUE.len()) };
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
            let Entry { number, name, bytes_min, bytes_max, .. } = entry;
            table += &format!(
                "{number:>2} {mandatory}{hideable} {bytes_min:>2}..{bytes_max:<4} {name}\n"
            );
        }
        insta::assert_snapshot!(table);
    }
}
