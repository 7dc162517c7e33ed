//! Captures on disk: one interface a port, the TUN device's packets without a link layer.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::pcapng::{Block, PcapNgReader, PcapNgWriter};

use super::machine::HOST;

/// A frame and the port that it came from or went to.
pub type Captured = (u16, Vec<u8>);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/data_path")
}

/// Compares with what is on disk; with `XLNS_BLESS` set, writes it there.
pub fn check(name: &str, received: &[Captured], sent: &[Captured], counters: &str) {
    let file = |end: &str| folder().join(format!("{name}.{end}"));
    if std::env::var_os("XLNS_BLESS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        write(&file("in.pcapng"), received);
        write(&file("out.pcapng"), sent);
        fs::write(file("counters"), counters).unwrap();
    }
    assert_eq!(read(&file("in.pcapng")), received, "{name}: in");
    assert_eq!(read(&file("out.pcapng")), sent, "{name}: out");
    let recorded = fs::read_to_string(file("counters")).unwrap_or_default();
    assert_eq!(recorded, counters, "{name}: counters");
}

/// The fixtures on disk.
pub fn names() -> BTreeSet<String> {
    fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .map(|file| file.split('.').next().unwrap_or_default().to_string())
        .collect()
}

/// Writes a capture.
pub fn write(path: &Path, frames: &[Captured]) {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    for port in 0..=HOST {
        let linktype = if port == HOST { DataLink::RAW } else { DataLink::ETHERNET };
        let interface = InterfaceDescriptionBlock { linktype, snaplen: 0, options: vec![] };
        writer.write_pcapng_block(interface).unwrap();
    }
    for (number, (port, octets)) in frames.iter().enumerate() {
        writer
            .write_pcapng_block(EnhancedPacketBlock {
                interface_id: (*port).into(),
                timestamp: Duration::from_millis(number as u64),
                original_len: octets.len() as u32,
                data: Cow::Borrowed(octets),
                options: vec![],
            })
            .unwrap();
    }
    fs::write(path, writer.into_inner()).unwrap();
}

/// Reads a capture.
pub fn read(path: &Path) -> Vec<Captured> {
    let octets = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = PcapNgReader::new(octets.as_slice()).unwrap();
    let mut frames = Vec::new();
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.unwrap() {
            frames.push((packet.interface_id as u16, packet.data.into_owned()));
        }
    }
    frames
}
