//! A file, and its problems.

use std::cell::{OnceCell, RefCell};
use std::io::Read;
use std::path::Path;

use super::parse::{self, Node, NodeId, NodeValue, Scalar};
use crate::error::{Error, ErrorKind, FileProblem, Result};

/// The maximum size of a configuration file, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// The maximum number of problems that moat shows of one file.
const MAX_SHOWN_PROBLEMS: usize = 200;

/// A file that is being read.
pub(crate) struct Source {
    /// The name of the file in messages.
    name: String,
    text: String,
    problems: RefCell<Vec<(NodeId, String)>>,
    places: Vec<NodeId>,
    /// All scalars of the file, collected at the first query.
    scalars: OnceCell<Vec<Scalar>>,
}

/// Reads a configuration file as text; `None` if it does not exist.
pub(crate) fn read_file(path: &Path, name: &str) -> Result<Option<String>> {
    let bad = |why: &str| Error::new(ErrorKind::Config, format!("{name}: {why}"));
    let failed = |error: &std::io::Error| bad(&crate::error::os_error_text(error));
    // Opening a named pipe would block.
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => return Err(bad("it is not a file")),
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(failed(&error)),
        Ok(_) => {}
    }
    let file = std::fs::File::open(path).map_err(|error| failed(&error))?;
    read_text(file, name).map(Some)
}

/// Reads a file that a user names on the command line, which can also be a pipe, such as `<(COMMAND)`; `None`: there is
/// none.
pub(crate) fn read_file_or_pipe(path: &Path, name: &str) -> Result<Option<String>> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() && !metadata.is_dir() => {
            let file = std::fs::File::open(path).map_err(|error| {
                let why = crate::error::os_error_text(&error);
                Error::new(ErrorKind::Config, format!("{name}: {why}"))
            })?;
            read_text(file, name).map(Some)
        }
        _ => read_file(path, name),
    }
}

fn read_text(file: std::fs::File, name: &str) -> Result<String> {
    let bad = |why: &str| Error::new(ErrorKind::Config, format!("{name}: {why}"));
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| bad(&crate::error::os_error_text(&error)))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(bad("it is larger than 256 KiB"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..good]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            Err(bad(&format!("it is not UTF-8 (in line {line})")))
        }
    }
}

/// Whether the file does not exist, which includes a parent that is not a directory.
fn is_absent(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotADirectory | NotFound)
}

impl Source {
    /// Parses a text. A syntax error is then its only problem.
    pub(crate) fn parse(name: &str, text: String) -> Result<(Source, Node)> {
        let mut source = Source {
            name: name.to_owned(),
            text,
            problems: RefCell::default(),
            places: Vec::new(),
            scalars: OnceCell::new(),
        };
        match parse::parse(&source.text) {
            Ok(node) => {
                parse::scalars_below(&node, &mut source.places);
                Ok((source, node))
            }
            Err((spot, why)) => Err(Error::problems(vec![source.problem(spot, why)])),
        }
    }

    /// Adds a problem.
    pub(crate) fn report(&self, at: NodeId, message: impl Into<String>) {
        self.problems.borrow_mut().push((at, message.into()));
    }

    /// Returns all problems in the order of the file as one error; `Ok` if there are none.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut problems = self.problems.borrow_mut();
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|(at, _)| *at);
        problems.dedup();
        let mut located: Vec<FileProblem> = problems
            .iter()
            .take(MAX_SHOWN_PROBLEMS)
            .map(|(at, message)| self.problem(self.position(*at), message.clone()))
            .collect();
        if problems.len() > MAX_SHOWN_PROBLEMS {
            let rest = problems.len() - MAX_SHOWN_PROBLEMS;
            located.push(self.problem(None, format!("and {rest} more problems")));
        }
        Err(Error::problems(located))
    }

    /// A scalar as written in the file.
    pub(super) fn text_as_written(&self, node: &Node) -> Option<String> {
        match &node.value {
            NodeValue::Text(text) => Some(text.clone()),
            NodeValue::Null | NodeValue::List(_) | NodeValue::Map(_) => None,
            _ => Some(self.scalar_at(node.at)?.text.clone()),
        }
    }

    fn scalar_at(&self, at: NodeId) -> Option<&Scalar> {
        let find = || parse::scalars(&self.text, self.places.clone());
        let scalars = self.scalars.get_or_init(find);
        let place = scalars.binary_search_by_key(&at, |scalar| scalar.at);
        scalars.get(place.ok()?)
    }

    fn position(&self, at: NodeId) -> Option<parse::Position> {
        match self.scalar_at(at) {
            Some(scalar) => Some(scalar.spot),
            None => parse::locate(&self.text, at),
        }
    }

    /// The position of a node, as `FILE:LINE`.
    pub(crate) fn line_of(&self, at: NodeId) -> String {
        match self.position(at) {
            Some((line, _)) => format!("{}:{line}", self.name),
            None => self.name.clone(),
        }
    }

    fn problem(&self, spot: Option<parse::Position>, message: String) -> FileProblem {
        FileProblem {
            file: self.name.clone(),
            line: spot.map(|(line, _)| line),
            column: spot.map(|(_, column)| column),
            message,
        }
    }
}
