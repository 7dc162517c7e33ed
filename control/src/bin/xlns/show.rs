//! `xlns show`.

use std::io::{self, BufWriter, Write};
use std::net::IpAddr;
use std::path::Path;

use xlns_control::admin::{
    Client, ClientRow, CounterRow, ErrorsRow, LacRow, PortRow, Request, Response, Rows,
    SessionFilter, SessionRow, TunnelRow, WorkerRow,
};

use crate::Show;
use crate::output::{Failure, JsonArray};
use crate::table::{self, Column, Table, number, text};

/// How one kind of row becomes a table.
struct Layout {
    columns: &'static [Column],
    /// Said where there is no row.
    empty: &'static str,
}

const TUNNELS: Layout = Layout {
    columns: &[
        number("TUNNEL"),
        number("PEER-ID"),
        text("PEER"),
        text("HOST-NAME"),
        text("STATE"),
        text("LAC"),
        text("AUTH"),
        number("SESSIONS"),
        number("WINDOW"),
        number("UNACKED"),
        number("RESENT"),
        number("AGE"),
    ],
    empty: "no tunnels",
};

const LACS: Layout = Layout {
    columns: &[
        text("LAC"),
        number("TUNNELS"),
        number("MAX"),
        number("SESSIONS"),
        number("MAX"),
        number("PER-TUNNEL"),
        number("OPENED"),
        number("REFUSED"),
        number("CALLS"),
        number("REFUSED"),
    ],
    empty: "no LAC profiles",
};

const SESSIONS: Layout = Layout {
    columns: &[
        number("TUNNEL"),
        number("SESSION"),
        text("USER"),
        text("ADDRESS"),
        text("IPV6"),
        text("DELEGATED"),
        text("PEER"),
        text("STATE"),
        text("AUTH"),
        number("MRU"),
        number("UP-PKTS"),
        number("UP-BYTES"),
        number("DOWN-PKTS"),
        number("DOWN-BYTES"),
        number("AGE"),
    ],
    empty: "no sessions",
};

const CLIENTS: Layout = Layout {
    columns: &[
        text("CLIENT"),
        text("STATE"),
        text("SERVER"),
        text("ADDRESS"),
        number("UP"),
        number("REDIALS"),
        number("IN-PKTS"),
        number("IN-BYTES"),
        number("OUT-PKTS"),
        number("OUT-BYTES"),
        text("LAST-ERROR"),
    ],
    empty: "no clients: the configuration has no [[client]]",
};

const ERRORS: Layout = Layout {
    columns: &[
        number("TUNNEL"),
        number("SESSION"),
        text("USER"),
        text("CIRCUIT"),
        text("FRAMING"),
        number("CRC"),
        number("FRAMES"),
        number("OVERRUNS"),
        number("BUFFERS"),
        number("TIMEOUTS"),
        number("ALIGNMENT"),
        text("ACCM-SEND"),
        text("ACCM-RECEIVE"),
    ],
    empty: "no sessions",
};

const PORTS: Layout = Layout {
    columns: &[
        text("PORT"),
        text("MODE"),
        number("QUEUES"),
        number("MTU"),
        text("MAC"),
        number("RX-PKTS"),
        number("RX-BYTES"),
        number("TX-PKTS"),
        number("TX-BYTES"),
        number("KERNEL-DROPS"),
    ],
    empty: "no ports: the data plane is not up",
};

const WORKERS: Layout = Layout {
    columns: &[
        number("WORKER"),
        number("CORE"),
        number("RECEIVED"),
        number("MADE"),
        number("SENT"),
        number("DROPPED"),
        number("JOINED"),
        number("WAITING"),
        number("HANDED-OUT"),
        number("HANDED-IN"),
        number("LOAD"),
        number("BATCHES"),
        number("PER-BATCH"),
        number("FREE-FRAMES"),
    ],
    empty: "no workers: the data plane is not up",
};

const ROUTES: Layout = Layout {
    columns: &[text("PREFIX"), text("TARGET"), text("GATEWAY"), text("INTERFACE")],
    empty: "no routes",
};

const COUNTERS: Layout = Layout {
    columns: &[text("GROUP"), text("NAME"), number("VALUE"), text("MEANING")],
    empty: "no counter is above zero (--all shows every one)",
};

/// Prints what `topic` asks for.
pub fn show(topic: &Show, socket: &Path, json: bool) -> Result<(), Failure> {
    let (request, layout) = match topic {
        Show::Tunnels => (Request::ShowTunnels, TUNNELS),
        Show::Lacs => (Request::ShowLacs, LACS),
        Show::Sessions { tunnel, user, address, errors } => {
            let filter =
                SessionFilter { tunnel_id: *tunnel, user: user.clone(), address: *address };
            (Request::ShowSessions { filter }, if *errors { ERRORS } else { SESSIONS })
        }
        // Has a module of its own.
        Show::Quality { .. } => return Ok(()),
        Show::Clients => (Request::ShowClients, CLIENTS),
        Show::Ports => (Request::ShowPorts, PORTS),
        Show::Workers => (Request::ShowWorkers, WORKERS),
        Show::Routes => (Request::ShowRoutes, ROUTES),
        Show::Counters { .. } => (Request::ShowCounters, COUNTERS),
    };
    let mut client = Client::connect(socket)?;
    let rows = client.ask(&request)?;
    let output = BufWriter::new(io::stdout().lock());
    if json {
        return print_json(rows, output);
    }
    let with_zeros = !matches!(topic, Show::Counters { all: false });
    let cells = match topic {
        Show::Sessions { errors: true, .. } => error_cells_of,
        _ => cells_of,
    };
    print_table(rows, &layout, cells, with_zeros, output)
}

fn print_json(rows: Rows<'_>, output: impl Write) -> Result<(), Failure> {
    let mut rows = rows.peekable();
    if let Some(Err(_)) = rows.peek() {
        // Nothing on the output: half an array would be no JSON.
        rows.next().transpose()?;
    }
    let mut array = JsonArray::new(output)?;
    for row in rows {
        array.push(&object_of(&row?)?)?;
    }
    Ok(array.finish()?)
}

/// A row without the `kind` that the protocol adds.
fn object_of(row: &Response) -> Result<serde_json::Value, io::Error> {
    let mut value = serde_json::to_value(row).map_err(io::Error::from)?;
    if let Some(object) = value.as_object_mut() {
        object.remove("kind");
    }
    Ok(value)
}

fn print_table(
    rows: Rows<'_>,
    layout: &Layout,
    cells: fn(&Response) -> Vec<String>,
    with_zeros: bool,
    mut output: impl Write,
) -> Result<(), Failure> {
    let mut table = Table::new(&mut output, layout.columns);
    let (mut better, mut troubles) = (Vec::new(), Vec::new());
    for row in rows {
        let row = row?;
        match &row {
            Response::Counter(counter) if counter.value == 0 && !with_zeros => continue,
            Response::Port(port) => {
                let line = |text: &String| format!("  {}: {text}", port.interface);
                better.extend(port.not_better.iter().map(line));
                troubles.extend(port.troubles.iter().map(line));
            }
            _ => {}
        }
        table.push(cells(&row))?;
    }
    table.finish(layout.empty)?;
    for (title, lines) in
        [("Better modes that were not obtained:", better), ("What is wrong now:", troubles)]
    {
        if !lines.is_empty() {
            writeln!(output, "\n{title}")?;
        }
        for line in lines {
            writeln!(output, "{}", table::printable(&line))?;
        }
    }
    Ok(output.flush()?)
}

fn cells_of(row: &Response) -> Vec<String> {
    match row {
        Response::Tunnel(row) => tunnel_cells(row),
        Response::Lac(row) => lac_cells(row),
        Response::Session(row) => session_cells(row),
        Response::Client(row) => client_cells(row),
        Response::Port(row) => port_cells(row),
        Response::Worker(row) => worker_cells(row),
        Response::Route(row) => vec![
            row.prefix.to_string(),
            row.target.clone(),
            row.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            row.interface.clone(),
        ],
        Response::Counter(row) => counter_cells(row),
        Response::Placed(_)
        | Response::Quality(_)
        | Response::QualitySummary(_)
        | Response::Cleared { .. }
        | Response::Error { .. }
        | Response::End { .. } => Vec::new(),
    }
}

fn tunnel_cells(row: &TunnelRow) -> Vec<String> {
    vec![
        row.tunnel_id.to_string(),
        row.peer_tunnel_id.to_string(),
        row.peer.to_string(),
        row.host_name.clone(),
        row.state.clone(),
        row.lac.clone(),
        row.authentication.clone(),
        row.sessions.to_string(),
        format!("{}/{}", row.congestion_window, row.peer_window),
        row.unacknowledged.to_string(),
        table::count(row.retransmissions),
        table::age(row.age_seconds),
    ]
}

fn lac_cells(row: &LacRow) -> Vec<String> {
    vec![
        row.name.clone(),
        row.tunnels.to_string(),
        row.tunnels_max.to_string(),
        row.sessions.to_string(),
        row.sessions_max.to_string(),
        row.sessions_per_tunnel_max.to_string(),
        table::count(row.tunnels_opened),
        table::count(row.tunnels_refused),
        table::count(row.calls_connected),
        table::count(row.calls_refused),
    ]
}

fn session_cells(row: &SessionRow) -> Vec<String> {
    vec![
        row.tunnel_id.to_string(),
        row.session_id.to_string(),
        row.user.clone(),
        row.address.map(|address| address.to_string()).unwrap_or_default(),
        row.ipv6_prefix.map(|prefix| prefix.to_string()).unwrap_or_default(),
        row.delegated_prefix.map(|prefix| prefix.to_string()).unwrap_or_default(),
        row.peer.to_string(),
        row.state.clone(),
        row.authentication.clone(),
        row.mru.to_string(),
        table::count(row.upstream_packets),
        table::bytes(row.upstream_bytes),
        table::count(row.downstream_packets),
        table::bytes(row.downstream_bytes),
        table::age(row.age_seconds),
    ]
}

fn client_cells(row: &ClientRow) -> Vec<String> {
    let address = row.address.map(IpAddr::V4).or(row.address6.map(IpAddr::V6));
    let state = match row.redial_seconds {
        Some(seconds) => format!("{} {seconds}s", row.state),
        None => row.state.clone(),
    };
    vec![
        row.name.clone(),
        state,
        row.server.map(|server| server.to_string()).unwrap_or_default(),
        address.map(|address| address.to_string()).unwrap_or_default(),
        row.up_seconds.map(table::age).unwrap_or_default(),
        row.redials.to_string(),
        table::count(row.received_packets),
        table::bytes(row.received_bytes),
        table::count(row.sent_packets),
        table::bytes(row.sent_bytes),
        row.last_error.clone(),
    ]
}

fn error_cells_of(row: &Response) -> Vec<String> {
    match row {
        Response::Session(row) => error_cells(row),
        _ => Vec::new(),
    }
}

/// The line of a session, and what went wrong on it: empty where its LAC has not said.
fn error_cells(row: &SessionRow) -> Vec<String> {
    let errors = |count: fn(&ErrorsRow) -> u32| {
        row.line.errors.as_ref().map(|errors| count(errors).to_string()).unwrap_or_default()
    };
    let accm = |map: Option<u32>| map.map(|map| format!("{map:08x}")).unwrap_or_default();
    vec![
        row.tunnel_id.to_string(),
        row.session_id.to_string(),
        row.user.clone(),
        row.line.circuit_id.clone(),
        row.line.framing.clone(),
        errors(|errors| errors.crc),
        errors(|errors| errors.framing),
        errors(|errors| errors.hardware_overruns),
        errors(|errors| errors.buffer_overruns),
        errors(|errors| errors.timeouts),
        errors(|errors| errors.alignment),
        accm(row.line.send_accm),
        accm(row.line.receive_accm),
    ]
}

fn port_cells(row: &PortRow) -> Vec<String> {
    vec![
        row.interface.clone(),
        row.mode.clone(),
        row.queues.to_string(),
        row.mtu.to_string(),
        row.mac.clone(),
        table::count(row.received_packets),
        table::bytes(row.received_bytes),
        table::count(row.transmitted_packets),
        table::bytes(row.transmitted_bytes),
        table::count(row.kernel_dropped),
    ]
}

fn worker_cells(row: &WorkerRow) -> Vec<String> {
    // Tenths, so that a value between 1 and 64 says something.
    let frames = row.received.saturating_add(row.handed_in);
    let tenths = frames.saturating_mul(10).checked_div(row.batches).unwrap_or(0);
    vec![
        row.worker.to_string(),
        row.core.map(|core| core.to_string()).unwrap_or_default(),
        table::count(row.received),
        table::count(row.originated),
        table::count(row.transmitted),
        table::count(row.dropped),
        table::count(row.joined),
        table::count(row.waiting),
        table::count(row.handed_out),
        table::count(row.handed_in),
        format!("{}.{} %", row.load_permille / 10, row.load_permille % 10),
        table::count(row.batches),
        format!("{}.{}", tenths / 10, tenths % 10),
        table::count(row.frames_free),
    ]
}

fn counter_cells(row: &CounterRow) -> Vec<String> {
    // Exact: counters are compared with one another.
    vec![row.group.clone(), row.name.clone(), row.value.to_string(), row.explanation.clone()]
}
