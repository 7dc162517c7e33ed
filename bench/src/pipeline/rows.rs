//! The rows beside the main one: what each kind of packet costs more than the plain one.
//!
//! Windows of the kind and of the plain one alternate over the same tables, in which there are
//! sessions of all kinds; packets go to those of one kind.

use std::error::Error;

use serde::Serialize;
use xlns_dataplane::frame::Frame;
use xlns_dataplane::pipeline::BATCH_MAX;

use super::kind::Kind;
use super::load::{Direction, Load};
use super::measure::{Bench, Headers, Plan, Shape, Windows, median};

/// What a row is.
#[derive(Debug, Clone, Copy)]
struct Definition {
    what: &'static str,
    kind: Kind,
    /// What it is compared with.
    than: Kind,
    shape: Shape,
    /// How much it may cost more, clk a packet, where that was laid down.
    allowed: Option<f64>,
    /// Only this way.
    only: Option<Direction>,
}

const fn row(what: &'static str, kind: Kind, allowed: Option<f64>) -> Definition {
    Definition { what, kind, than: Kind::Plain, shape: Shape::MAIN, allowed, only: None }
}

const DEFINITIONS: [Definition; 13] = [
    row("policer", Kind::Policer, Some(25.0)),
    row("TCP, MSS tested", Kind::Tcp, Some(5.0)),
    row("SYN, MSS lowered", Kind::Syn, Some(60.0)),
    row("1400 octets", Kind::Large, Some(25.0)),
    Definition {
        only: Some(Direction::Encapsulation),
        ..row("no UDP checksum", Kind::NoChecksum, None)
    },
    // Both on the second quick way, where alone there is a choice.
    Definition {
        only: Some(Direction::Encapsulation),
        than: Kind::NoChecksum,
        ..row("UDP checksum", Kind::TrafficClass, Some(15.0))
    },
    Definition {
        only: Some(Direction::Encapsulation),
        ..row("DSCP and ECN copied", Kind::TrafficClass, None)
    },
    row("IPv6 inside", Kind::InnerIpv6, None),
    row("tagged", Kind::Tagged, None),
    row("IPv6 outside", Kind::OuterIpv6, None),
    row("sequence numbers", Kind::Sequences, None),
    Definition {
        shape: Shape { headers: Headers::Warm, burst: 4 * BATCH_MAX },
        ..row("bursts of 256", Kind::Plain, None)
    },
    Definition {
        shape: Shape { headers: Headers::Cold, burst: BATCH_MAX },
        ..row("cold headers", Kind::Plain, None)
    },
];

/// What one kind costs one way.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    direction: Direction,
    /// Of each kind.
    sessions: u32,
    row: &'static str,
    kind: Kind,
    than: Kind,
    #[serde(flatten)]
    shape: Shape,
    inner_bytes: f64,
    /// Time-stamp counter, the best window.
    clk_per_packet: f64,
    /// The best window in between of what it is compared with: the plain kind, mostly.
    plain_clk_per_packet: f64,
    increment_clk: f64,
    /// The middle of the differences of neighbouring windows.
    median_increment_clk: f64,
    /// How much the increment may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed_clk: Option<f64>,
}

/// Measures all rows with so many sessions of each kind.
pub(super) fn measure(
    sessions: u32,
    size: u16,
    frames: &mut [Frame],
    plan: &Plan,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let load = Load::of_all_kinds(sessions)?;
    let mut rows = Vec::new();
    for definition in &DEFINITIONS {
        for direction in Direction::ALL {
            if definition.only.is_none_or(|only| only == direction) {
                rows.push(one(&load, definition, direction, size, frames, plan)?);
            }
        }
    }
    Ok(rows)
}

fn one(
    load: &Load,
    definition: &Definition,
    direction: Direction,
    size: u16,
    frames: &mut [Frame],
    plan: &Plan,
) -> Result<Row, Box<dyn Error>> {
    let Definition { what, kind, than, shape, allowed, .. } = *definition;
    let mut bench = Bench::new(&load.tables, frames);
    let mut plain_packets = load.packets(than, direction, size);
    let mut packets = load.packets(kind, direction, size);
    let (mut plain, mut this) = (Windows::default(), Windows::default());
    for _ in 0..plan.windows {
        plain.0.push(bench.window(&mut plain_packets, Shape::MAIN, plan.window)?);
        this.0.push(bench.window(&mut packets, shape, plan.window)?);
    }
    let differences = this.0.iter().zip(&plain.0).map(|(this, plain)| this - plain).collect();
    Ok(Row {
        direction,
        sessions: load.sessions,
        row: what,
        kind,
        than,
        shape,
        inner_bytes: packets.inner_bytes(),
        clk_per_packet: this.best(),
        plain_clk_per_packet: plain.best(),
        increment_clk: this.best() - plain.best(),
        median_increment_clk: median(differences),
        allowed_clk: allowed,
    })
}

pub(super) fn print(rows: &[Row], ticks_per_nanosecond: f64) {
    println!(
        "{:<14} {:<20} {:>9} {:>8} {:>8} {:>9} {:>8} {:>8}",
        "", "", "sessions", "clk", "plain", "increment", "ns", "allowed"
    );
    for row in rows {
        let allowed = row.allowed_clk.map_or_else(String::new, |clk| format!("{clk:.0} clk"));
        println!(
            "{:<14} {:<20} {:>9} {:>8.1} {:>8.1} {:>+9.1} {:>+8.1} {allowed:>8}",
            row.direction.name(),
            row.row,
            row.sessions,
            row.clk_per_packet,
            row.plain_clk_per_packet,
            row.increment_clk,
            row.increment_clk / ticks_per_nanosecond,
        );
    }
}
