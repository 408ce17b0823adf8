//! Real servers behind it and real clients before it.

use std::process::{Child, Command, Stdio};

use super::{balance, get, status};
use crate::harness::{Folder, command, until};
use crate::servers::program;
use crate::world::python;

/// A server, killed when dropped.
struct Server(Child);

impl Server {
    fn start(mut server: Command) -> Server {
        let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Server(server.spawn().expect("it starts"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A path at which a server is to listen, once it does.
fn serving(server: Command, path: &str) -> Server {
    let server = Server::start(server);
    until("it listens", || std::os::unix::net::UnixStream::connect(path).is_ok());
    server
}

const ASKS: &str = "
import http.client, sys
port = int(sys.argv[1])
connection = http.client.HTTPConnection('127.0.0.1', port, timeout=100)
for size in (0, 1, 100, 70000, 300000):
    body = b'x' * size
    connection.request('POST', '/echo', body=body)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, body), (size, answer.status)
    connection.request('POST', '/echo', body=iter([body, b'y']), encode_chunked=True, headers={'Transfer-Encoding': 'chunked'})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, body + b'y'), (size, answer.status)
connection.request('HEAD', '/echo')
answer = connection.getresponse()
assert (answer.status, answer.read()) == (200, b'')
print('fine')
";

/// Python's client, and curl, against what answers POST /echo with the body.
fn echoes(url: &str) {
    let fd3 = balance(&["-b", url]);
    let port = fd3.port().to_string();
    let asked = command(python()).args(["-c", ASKS, &port]).output().expect("it starts");
    assert_eq!(String::from_utf8_lossy(&asked.stdout), "fine\n", "{asked:?}");
    let Some(curl) = program("curl") else { return };
    let at = format!("http://127.0.0.1:{port}/echo");
    let big = "z".repeat(5000);
    let asked = command(curl)
        .args(["-sS", "--fail", "-H", "Expect: 100-continue", "--data-binary", &big, &at, &at])
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&asked.stdout);
    assert!(said == format!("{big}{big}"), "{asked:?}");
}

const PYTHON_APP: &str = "
def app(environ, start_response):
    body = b''.join(iter(lambda: environ['wsgi.input'].read(65536), b''))
    start_response('200 OK', [('Content-Length', str(len(body)))])
    return [body]
";

#[test]
fn gunicorn_behind_it() {
    let Some(gunicorn) = program("gunicorn") else { return };
    let folder = Folder::new();
    folder.file("echo_app.py", PYTHON_APP, 0o644);
    let path = folder.path("socket");
    let mut server = command(gunicorn);
    server.args(["-k", "gthread", "--threads", "4", "-b", &format!("unix:{path}"), "echo_app:app"]);
    server.current_dir(folder.path(""));
    let _server = serving(server, &path);
    echoes(&format!("http://unix:{path}"));
}

const NODE_APP: &str = "
const http = require('http');
http.createServer((request, answer) => {
  if (request.method === 'HEAD') return answer.end();
  request.pipe(answer);
}).listen(process.argv[1]);
";

#[test]
fn node_behind_it() {
    let Some(node) = program("node") else { return };
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut server = command(node);
    server.args(["-e", NODE_APP, &path]);
    let _server = serving(server, &path);
    echoes(&format!("http://unix:{path}"));
}

#[test]
fn nginx_behind_it() {
    let Some(nginx) = program("nginx") else { return };
    let folder = Folder::new();
    let path = folder.path("socket");
    folder.file("file", &"content".repeat(50_000), 0o644);
    let here = folder.path("");
    let file = folder.file(
        "nginx.conf",
        &format!(
            "daemon off; pid {here}/pid; error_log /dev/null; events {{}}\n\
             http {{ access_log off; client_body_temp_path {here}/b; proxy_temp_path {here}/p;\n\
             fastcgi_temp_path {here}/f; uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
             server {{ listen unix:{path}; root {here}; }} }}\n"
        ),
        0o644,
    );
    let mut server = command(nginx);
    server.args(["-e", "stderr", "-c", &file]);
    if crate::world::is_root() {
        server.args(["-g", "user root;"]);
    }
    let _server = serving(server, &path);
    let fd3 = balance(&["-b", &format!("http://unix:{path}")]);
    let answer = get(fd3.port(), "/file");
    assert!(
        status(&answer) == 200 && answer.ends_with(&"content".repeat(50_000)),
        "{}",
        answer.len()
    );
    assert_eq!(status(&get(fd3.port(), "/nope")), 404);
}
