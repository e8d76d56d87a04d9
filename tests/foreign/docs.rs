//! The commands that docs/grpc.md prints.

use std::path::Path;

/// Its commands, with what its examples name replaced by what is there.
pub(crate) struct Docs(Vec<String>);

impl Docs {
    /// For a socket and a process.
    pub(crate) fn of(socket: &Path, pid: u32) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = std::fs::read_to_string(root.join("docs/grpc.md")).unwrap();
        let text = text
            .replace("/run/tracejob/agent.sock", socket.to_str().unwrap())
            .replace("4242", &pid.to_string())
            .replace(
                " proto/proto",
                &format!(" {}", root.join("proto/proto").display()),
            )
            .replace(
                " examples/grpc",
                &format!(" {}", root.join("examples/grpc").display()),
            );
        let blocks = text.split("\n```").skip(1).step_by(2);
        let shells = blocks.filter_map(|block| block.strip_prefix("sh\n"));
        Self(shells.flat_map(commands).collect())
    }

    /// All that begin with a word, as they stand there.
    pub(crate) fn commands(&self, word: &str) -> Vec<String> {
        let ours = self
            .0
            .iter()
            .filter(|line| line.split(' ').next() == Some(word));
        ours.cloned().collect()
    }
}

/// A command ends with its line, but for one that ends in a backslash or within quotes.
fn commands(block: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut command = String::new();
    for line in block.lines() {
        command.push_str(line);
        let quoted = !command.matches('\'').count().is_multiple_of(2);
        match quoted || line.ends_with('\\') {
            true => command.push('\n'),
            false => commands.push(std::mem::take(&mut command)),
        }
    }
    commands
}
