//! Go's net/http on the inherited descriptor.

use super::{build, pid_over_http, program, run, serves_survives_and_stops};
use crate::harness::{Folder, command};

#[test]
fn go_serves_the_inherited_file_as_a_listener() {
    let Some(go) = program("go") else { return };
    let folder = Folder::new();
    let (source, binary) =
        (folder.file("main.go", include_str!("main.go"), 0o644), folder.path("server"));
    let mut compile = command(go);
    compile.args(["build", "-o", &binary, &source]);
    // The standard library takes a minute to build: kept with what cargo keeps.
    compile.env("GOCACHE", concat!(env!("CARGO_TARGET_TMPDIR"), "/go"));
    compile.env("GOPATH", folder.path("gopath"));
    compile.env("GO111MODULE", "off").env("CGO_ENABLED", "0").env("GOFLAGS", "");
    build(compile);
    let words = ["-l", "127.0.0.1:0", "-w", "2", "--ready", "50ms", "--protocol", "plain", "--"];
    let fd3 = run(&[&words[..], &[&binary]].concat());
    let port = fd3.port();
    serves_survives_and_stops(fd3, 2, &|| pid_over_http(port));
}
