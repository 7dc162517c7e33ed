//! The operator's socket: what `xlns show` and `xlns clear` ask, and what `xlnsd` answers.
//!
//! A Unix stream socket of mode 0600, JSON lines both ways. A line from the client is one
//! [`Request`]; the answer is one [`Response`] a line, rows first, then [`Response::End`] with
//! their number, or [`Response::Error`]. A client may ask again on the same connection.
//!
//! A million rows take no memory here: [`Server`] asks its owner for a page of rows whenever the
//! client has taken the one before, and hands the owner's own cursor back for the next.

mod client;
mod listen;
mod protocol;
mod quality;
mod rows;
mod server;

pub use client::{Client, ClientError, Rows};
pub use protocol::{
    ClientRow, CounterRow, ErrorsRow, LacRow, LineRow, PlaceCall, PlacedRow, PortRow, RatesRow,
    Request, Response, RouteRow, SessionFilter, SessionRow, SessionSelector, TunnelRow,
    TunnelSelector, WorkerRow,
};
pub use quality::{
    ClassRow, QualityFilter, QualityRow, QualityScope, QualitySummaryRow, QualitySweep, Subject,
    WORST_MAX,
};
pub use server::{ConnectionId, Cursor, PAGE_BYTES_MAX, PAGE_ROWS, Query, Server, TOKENS};

/// Where the socket is unless the configuration says otherwise.
pub const SOCKET_DEFAULT: &str = "/run/xlns/admin.sock";

/// The longest request line, octets: the longest user name, escaped, and the rest around it.
pub const REQUEST_BYTES_MAX: usize = 4096;
