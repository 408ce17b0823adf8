//! Images of nothing but fd3 and a program: what examples/docker and README.md tell people to copy.
//!
//! `engine` has a Docker engine build and run them, `chroot` does the same with namespaces alone, `manifests`
//! has the files for Docker Compose and Kubernetes judged by their schemas.

mod chroot;
mod engine;
mod manifests;

use std::path::Path;

use crate::harness::{FD3, IS_STATIC};
use crate::world::{skip, skip_missing};

const DOCKERFILE: &str = include_str!("../../examples/docker/Dockerfile");
const COMPOSE: &str = include_str!("../../examples/docker/compose.yaml");
const KUBERNETES: &str = include_str!("../../examples/docker/kubernetes.yaml");
const README: &str = include_str!("../../README.md");

/// The files of such an image, if fd3 is a static one; `scripts/test` builds the other beside it, and tells of an fd3 with
/// just what the Dockerfile builds into it.
fn binaries() -> Option<[(&'static str, String); 2]> {
    if !IS_STATIC {
        skip("only a static fd3 runs in an empty image; scripts/test tests that one as well");
        return None;
    }
    let server = Path::new(FD3).with_file_name("examples").join("http_server");
    let server = server.into_os_string().into_string().expect("the path is text");
    if !Path::new(&server).exists() {
        skip_missing(&server);
        return None;
    }
    let fd3 = std::env::var("FD3_SERVICE_BINARY").unwrap_or(FD3.to_string());
    Some([("fd3", fd3), ("http_server", server)])
}

/// The strings of the list behind the first `key`: `key ["a", "b"]`, which is JSON, YAML and a Dockerfile.
fn words(file: &str, key: &str) -> Vec<String> {
    let at = file.find(&format!("{key} [\"")).unwrap_or_else(|| panic!("no {key} in {file}"));
    let list = file[at..].split(['[', ']']).nth(1).expect("the list ends");
    // Between quotes, outside them, between them ...
    list.split('"').skip(1).step_by(2).map(str::to_string).collect()
}

/// Whoever copies either of them has the same.
#[test]
fn the_dockerfile_of_the_readme_is_the_examples() {
    let lines = DOCKERFILE.lines().skip_while(|line| line.starts_with('#'));
    let indented = lines.map(|line| match line {
        "" => "\n".to_string(),
        line => format!("    {line}\n"),
    });
    assert!(README.contains(&indented.collect::<String>()), "README.md has another Dockerfile");
}
