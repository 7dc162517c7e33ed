//! The L2TP header: both parsers agree, and what we emit is what both read.

use xlns_control::l2tp::header::{self, Header, HeaderError};
use xlns_control::l2tp::sequence::Sequence;
use xlns_dataplane::wire::l2tp;

/// Octets of the longest data header that we emit.
const DATA_HEADER_BYTES_MAX: usize = 10;

/// The input is a datagram.
pub fn run(datagram: &[u8]) {
    let control = header::parse(datagram);
    let workers = l2tp::parse(datagram);
    match (&control, &workers) {
        (Ok(control), Ok(workers)) => {
            assert_eq!(control.control, workers.control);
            assert_eq!(control.tunnel_id.0, workers.tunnel_id);
            assert_eq!(control.session_id.0, workers.session_id);
            assert_eq!(control.sequenced.then_some(control.ns.0), workers.ns);
            assert_eq!(usize::from(control.payload_offset), workers.payload_offset);
            assert_eq!(usize::from(control.payload_end), workers.payload_end);
            assert!(workers.payload_offset <= workers.payload_end);
            assert!(workers.payload_end <= datagram.len());
            emitted_is_read(control, datagram);
        }
        (Err(HeaderError::Version(_)), Err(error)) => assert_eq!(*error, l2tp::Error::Version),
        // Workers leave all control to the kernel, whatever else is wrong with it.
        (Err(HeaderError::ControlFlags), _) => {}
        (Err(_), Err(_)) => {}
        (control, workers) => panic!("control says {control:?}, workers {workers:?}"),
    }
}

fn emitted_is_read(header: &Header, datagram: &[u8]) {
    let payload = header.payload(datagram);
    let mut again = Vec::new();
    if header.control {
        let Header { tunnel_id, session_id, ns, nr, .. } = *header;
        header::emit_control(&mut again, tunnel_id, session_id, ns, nr, payload.len());
    } else {
        let ns = header.sequenced.then_some(header.ns);
        header::emit_data(&mut again, header.tunnel_id, header.session_id, ns, header.priority);
        assert!(again.len() <= DATA_HEADER_BYTES_MAX);
    }
    let start = again.len();
    again.extend_from_slice(payload);
    let read = header::parse(&again).expect("what we emit");
    let nr = if header.control { header.nr } else { Sequence(0) };
    let offset = start as u16;
    let expected =
        Header { nr, payload_offset: offset, payload_end: again.len() as u16, ..*header };
    assert_eq!(read, expected);
    assert_eq!(read.payload(&again), payload);
}
