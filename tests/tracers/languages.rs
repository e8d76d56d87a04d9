//! Stacks of programs in several languages, each in a container of its own: in PID and mount namespaces where alone its files are.

use crate::has_frame;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};
use tests::{Trace, needs, needs_names, sum};

/// A program that spends 1.5 s in a function `hot` that `main` calls.
struct Program {
    /// Name of its source file.
    source: &'static str,
    text: &'static str,
    /// The command that builds it, and the command that runs it. Both run in its folder.
    build: &'static [&'static str],
    run: &'static [&'static str],
    /// What the names of `hot` and of its caller contain.
    hot: &'static str,
    caller: &'static str,
}

const CPP: Program = Program {
    source: "hot.cpp",
    text: "
        #include <chrono>
        #include <numeric>
        #include <vector>
        using std::chrono::steady_clock;
        template <typename T, int N> __attribute__((noinline)) T hot(steady_clock::time_point until) {
            T sum = 0;
            std::vector<T> all(N, T(1));
            while (steady_clock::now() < until)
                for (int i = 0; i < 1000; i++) sum += std::accumulate(all.begin(), all.end(), sum);
            return sum;
        }
        int main() { return hot<double, 100>(steady_clock::now() + std::chrono::milliseconds(1500)) == 1; }",
    build: &["g++", "-O2", "-o", "hot", "hot.cpp"],
    run: &["./hot"],
    hot: "hot<double, 100>",
    caller: "main",
};

const RUST: Program = Program {
    source: "hot.rs",
    text: "
        use std::time::{Duration, Instant};
        #[inline(never)]
        fn hot<T: Fn(f64) -> f64>(until: Instant, of: T) -> f64 {
            let mut sum = 0.0;
            while Instant::now() < until { for i in 0..100_000 { sum += of(f64::from(i)); } }
            sum
        }
        fn main() { assert!(hot(Instant::now() + Duration::from_millis(1500), f64::sqrt) > 0.0); }",
    build: &["rustc", "-O", "hot.rs"],
    run: &["./hot"],
    hot: "hot::hot",
    caller: "hot::main",
};

const GO: Program = Program {
    source: "hot.go",
    text: "package main
        import (\"math\"; \"time\")
        //go:noinline
        func hot(until time.Time) float64 {
            sum := 0.0
            for time.Now().Before(until) { for i := 0; i < 1000000; i++ { sum += math.Sqrt(float64(i)) } }
            return sum
        }
        func main() { println(hot(time.Now().Add(1500 * time.Millisecond)) > 0) }",
    build: &["go", "build", "-o", "hot", "hot.go"],
    run: &["./hot"],
    hot: "main.hot",
    caller: "main.main",
};

/// Compiled at run time, with names in /tmp/perf-PID.map, where PID is that of its namespace.
const JAVASCRIPT: Program = Program {
    source: "hot.js",
    text: "
        function hot(until) {
            let sum = 0;
            while (Date.now() < until) for (let i = 0; i < 1e6; i++) sum += Math.sqrt(i);
            return sum;
        }
        function caller() { return hot(Date.now() + 1500); }
        caller();",
    build: &["node", "--version"],
    run: &["node", "--perf-basic-prof", "hot.js"],
    hot: "hot ",
    caller: "node::Start",
};

/// Runs a command in namespaces of its own, with its folder at /mnt and an empty /tmp.
const CONTAINER: &str = "mount -t tmpfs none /mnt && cp -r \"$1\"/. /mnt && mount -t tmpfs none /tmp && cd /mnt && shift && exec \"$@\"";

impl Program {
    /// Builds it in a folder. `None`: its tools are not installed, which is printed.
    fn folder(&self, test: &str) -> Option<PathBuf> {
        let folder = tests::folder();
        fs::write(folder.join(self.source), self.text).unwrap();
        let mut build = Command::new(self.build[0]);
        match build.args(&self.build[1..]).current_dir(&folder).output() {
            Ok(output) => {
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{errors}");
                Some(folder)
            }
            Err(error) => {
                println!(
                    "SKIPPED languages::here::{test}: {}: {error}",
                    self.build[0]
                );
                None
            }
        }
    }

    fn in_container(&self, folder: &Path) -> Vec<String> {
        let folder = folder.to_str().unwrap();
        let unshare = "unshare --fork --pid --mount --mount-proc sh -c";
        let mut command: Vec<&str> = unshare.split(' ').collect();
        command.extend([CONTAINER, "sh", folder]);
        command.extend(self.run);
        command.into_iter().map(str::to_owned).collect()
    }

    /// Checks that nearly all CPU time of the program is in `hot`, below its caller.
    fn check(&self, test: &str) {
        // One at a time: each of them needs a CPU.
        static ONE: Mutex<()> = Mutex::new(());
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(folder) = self.folder(test) else {
            return;
        };
        let command = self.in_container(&folder).into_iter().map(Into::into);
        let outcome = Trace::of("cpu_profile").command(command.collect()).run();
        outcome.complete();
        let comm = self.run[0].trim_start_matches("./");
        let rows = outcome.rows_where("comm", comm);
        let is_hot = |row: &&&Value| {
            has_frame(row, "user_stack", self.hot) && has_frame(row, "user_stack", self.caller)
        };
        let hot: Vec<&Value> = rows.iter().filter(is_hot).copied().collect();
        let (hot, all) = (sum(&hot, "cpu_ns"), sum(&rows, "cpu_ns"));
        assert!(all > 100_000_000, "{all} ns: {:#?}", outcome.rows);
        // The rest starts the program, which is more of it where the CPU is shared.
        assert!(hot * 2 >= all, "{hot} of {all} ns: {rows:#?}");
    }
}

/// Names of functions, and languages, which the test kernels have not.
mod here {
    use super::*;

    #[test]
    fn templates_of_cpp_have_their_names_and_callers() {
        needs!("cpu_profile");
        needs_names!();
        CPP.check("templates_of_cpp_have_their_names_and_callers");
    }

    #[test]
    fn generic_functions_of_rust_have_their_names_and_callers() {
        needs!("cpu_profile");
        needs_names!();
        RUST.check("generic_functions_of_rust_have_their_names_and_callers");
    }

    #[test]
    fn functions_of_go_have_their_names_and_callers() {
        needs!("cpu_profile");
        needs_names!();
        GO.check("functions_of_go_have_their_names_and_callers");
    }

    #[test]
    fn functions_of_javascript_have_their_names_and_callers() {
        needs!("cpu_profile");
        needs_names!();
        JAVASCRIPT.check("functions_of_javascript_have_their_names_and_callers");
    }
}
