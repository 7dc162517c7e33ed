//! The client side: blocking, for the command line and for tests.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::PAGE_BYTES_MAX;
use super::protocol::{Request, Response};

/// xlnsd answers in milliseconds; after this it hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A call is set up, or has failed, after a minute; xlnsd says so itself.
const CALL_TIMEOUT: Duration = Duration::from_secs(75);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "xlnsd is not running (nothing answers at {0}): start it with `systemctl start xlnsd`, \
         or for a try-out with `xlns run --config FILE`; where it has another socket, name it \
         with --socket"
    )]
    NotRunning(PathBuf),
    /// The socket belongs to somebody else.
    #[error("no permission to use {0}: run as the user that xlnsd runs as (root)")]
    Permission(PathBuf),
    /// xlnsd refused.
    #[error("{0}")]
    Refused(String),
    /// The socket failed, or xlnsd hangs.
    #[error("the connection to xlnsd failed: {0}")]
    Io(#[from] io::Error),
    /// The answer is none.
    #[error("xlnsd answers in another language ({0}): install xlns and xlnsd from one release")]
    Language(String),
}

/// A connection to a running xlnsd.
#[derive(Debug)]
pub struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError`], which says what to do.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(socket.to_owned())
            }
            ErrorKind::PermissionDenied => ClientError::Permission(socket.to_owned()),
            _ => ClientError::Io(error),
        })?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { reader: BufReader::new(stream) })
    }

    /// Makes the next answer one that may take as long as a call's set-up.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub fn wait_for_call(&mut self) -> Result<(), ClientError> {
        Ok(self.reader.get_ref().set_read_timeout(Some(CALL_TIMEOUT))?)
    }

    /// Asks; the rows come as they are read.
    ///
    /// # Errors
    /// [`ClientError::Io`].
    pub fn ask(&mut self, request: &Request) -> Result<Rows<'_>, ClientError> {
        let mut line = serde_json::to_vec(request).map_err(io::Error::from)?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line)?;
        Ok(Rows { reader: &mut self.reader, is_over: false })
    }
}

/// The rows of an answer, without its last line; an error is the last item.
#[derive(Debug)]
pub struct Rows<'a> {
    reader: &'a mut BufReader<UnixStream>,
    is_over: bool,
}

impl Rows<'_> {
    fn read(&mut self) -> Result<Option<Response>, ClientError> {
        let mut line = Vec::new();
        let bound = PAGE_BYTES_MAX as u64;
        (&mut *self.reader).take(bound).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        let response = serde_json::from_slice(&line)
            .map_err(|error| ClientError::Language(error.to_string()))?;
        match response {
            Response::End { .. } => Ok(None),
            Response::Error { message } => Err(ClientError::Refused(message)),
            row => Ok(Some(row)),
        }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Response, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let item = self.read().transpose();
        self.is_over = !matches!(item, Some(Ok(_)));
        item
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// What a client makes of `answer`, sent to whatever it asks.
    fn asked(answer: &[u8]) -> Vec<Result<Response, ClientError>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::connect(&path).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        server.write_all(answer).unwrap();
        // Reads the request, so that closing does not reset the connection.
        let rows = client.ask(&Request::ShowPorts).unwrap();
        BufReader::new(&server).read_line(&mut String::new()).unwrap();
        drop(server);
        rows.collect()
    }

    #[test]
    fn rows_end_at_the_end_line() {
        let rows = asked(b"{\"kind\":\"cleared\",\"count\":2}\n{\"kind\":\"end\",\"rows\":1}\n");
        assert_eq!(rows.len(), 1);
        assert!(matches!(rows[0], Ok(Response::Cleared { count: 2 })));
    }

    #[test]
    fn errors_are_the_last_item() {
        let refused =
            asked(b"{\"kind\":\"error\",\"message\":\"no\"}\n{\"kind\":\"end\",\"rows\":0}\n");
        assert!(matches!(&refused[..], [Err(ClientError::Refused(message))] if message == "no"));
        assert!(matches!(asked(b"hello\n")[..], [Err(ClientError::Language(_))]));
        assert!(matches!(asked(b"{\"kind\":\"end\"")[..], [Err(ClientError::Io(_))]));
        assert!(matches!(asked(b"")[..], [Err(ClientError::Io(_))]));
    }

    #[test]
    fn without_xlnsd_it_says_how_to_start_it() {
        let error = Client::connect(Path::new("/nonexistent/admin.sock")).unwrap_err().to_string();
        assert!(error.contains("systemctl start xlnsd") && error.contains("xlns run"), "{error}");
    }
}
