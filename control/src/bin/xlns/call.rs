//! `xlns call`.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use xlns_control::admin::{Client, PlaceCall, PlacedRow, Request, Response};

use crate::output::Failure;

/// Has a LAC call somebody, and waits until the call is up or has failed.
pub fn call(call: PlaceCall, socket: &Path, json: bool) -> Result<(), Failure> {
    let called_number = call.called_number.clone();
    let mut client = Client::connect(socket)?;
    client.wait_for_call()?;
    let mut placed = None;
    for row in client.ask(&Request::PlaceCall { call })? {
        if let Response::Placed(row) = row? {
            placed = Some(row);
        }
    }
    let Some(PlacedRow { tunnel_id, session_id }) = placed else {
        return Err(Failure::Message("xlnsd did not say what became of the call".to_owned()));
    };
    let mut output = io::stdout();
    if json {
        writeln!(output, "{}", json!({ "tunnel_id": tunnel_id, "session_id": session_id }))?;
    } else {
        writeln!(output, "{called_number} answers: tunnel {tunnel_id}, session {session_id}")?;
    }
    Ok(())
}
