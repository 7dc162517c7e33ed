//! Writing to the terminal or a pipe, and how a command fails.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// Why a command ends without success.
#[derive(Debug)]
pub enum Failure {
    /// Said to the operator by `main`.
    Message(String),
    /// The command has said it.
    Reported,
    /// Nobody reads the output any more.
    OutputClosed,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Message(format!("cannot write the output: {error}"))
        }
    }
}

/// Objects of a JSON array, each on a line of its own, written as they come.
pub struct JsonArray<W: Write> {
    output: W,
    is_first: bool,
}

impl<W: Write> JsonArray<W> {
    pub fn new(mut output: W) -> io::Result<Self> {
        output.write_all(b"[")?;
        Ok(Self { output, is_first: true })
    }

    pub fn push(&mut self, value: &impl Serialize) -> io::Result<()> {
        let separator: &[u8] = if self.is_first { b"\n" } else { b",\n" };
        self.is_first = false;
        self.output.write_all(separator)?;
        serde_json::to_writer(&mut self.output, value).map_err(io::Error::from)
    }

    pub fn finish(mut self) -> io::Result<()> {
        self.output.write_all(if self.is_first { b"]\n" } else { b"\n]\n" })?;
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_of_none_one_and_two_are_json() {
        for count in 0..3 {
            let mut text = Vec::new();
            let mut array = JsonArray::new(&mut text).unwrap();
            let values: Vec<_> =
                (0..count).map(|index| serde_json::json!({ "i": index })).collect();
            values.iter().for_each(|value| array.push(value).unwrap());
            array.finish().unwrap();
            let read: Vec<serde_json::Value> = serde_json::from_slice(&text).unwrap();
            assert_eq!(read, values);
        }
    }
}
