//! `xlns clear`.

use std::io::{self, Write};
use std::path::Path;

use serde_json::json;
use xlns_control::admin::{Client, Request, Response, SessionSelector, TunnelSelector};

use crate::Clear;
use crate::output::Failure;

/// Ends what `which` names; not an error where a peer or user has nothing, but one where a single
/// tunnel or session is named that is not there.
pub fn clear(which: &Clear, socket: &Path, json: bool) -> Result<(), Failure> {
    let (request, noun) = request_of(which)?;
    let is_one = matches!(
        request,
        Request::ClearTunnel { which: TunnelSelector::Id(_) }
            | Request::ClearSession { which: SessionSelector::Id { .. } }
            | Request::ClearClient { .. }
    );
    let mut client = Client::connect(socket)?;
    let mut count = 0;
    for row in client.ask(&request)? {
        if let Response::Cleared { count: cleared } = row? {
            count += cleared;
        }
    }
    if count == 0 && is_one {
        return Err(Failure::Message(format!("no such {noun}")));
    }
    let mut output = io::stdout();
    if json {
        writeln!(output, "{}", json!({ "cleared": count }))?;
    } else {
        let plural = if count == 1 { "" } else { "s" };
        writeln!(output, "{count} {noun}{plural} cleared")?;
    }
    Ok(())
}

fn request_of(which: &Clear) -> Result<(Request, &'static str), Failure> {
    let tunnel = |which| Ok((Request::ClearTunnel { which }, "tunnel"));
    let session = |which| Ok((Request::ClearSession { which }, "session"));
    match which {
        Clear::Tunnel { id: Some(id), .. } => tunnel(TunnelSelector::Id(*id)),
        Clear::Tunnel { peer: Some(peer), .. } => tunnel(TunnelSelector::Peer(*peer)),
        Clear::Tunnel { all: true, .. } => tunnel(TunnelSelector::All),
        Clear::Session { user: Some(user), .. } => session(SessionSelector::User(user.clone())),
        Clear::Session { address: Some(address), .. } => {
            session(SessionSelector::Address(*address))
        }
        Clear::Session { ids: Some(ids), .. } => match ids.as_slice() {
            [tunnel_id, session_id] => {
                session(SessionSelector::Id { tunnel_id: *tunnel_id, session_id: *session_id })
            }
            _ => Err(Failure::Message("a session has a Tunnel ID and a Session ID".to_owned())),
        },
        Clear::Client { name } => Ok((Request::ClearClient { name: name.clone() }, "client")),
        Clear::Tunnel { .. } | Clear::Session { .. } => {
            Err(Failure::Message("say which".to_owned()))
        }
    }
}
