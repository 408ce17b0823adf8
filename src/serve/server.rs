//! A thread for each connection, until told to stop.

use core::fmt;
use core::time::Duration;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use super::{Guard, InFlight, Stop};
use crate::error::{Errno, Error};
use crate::ready;
use crate::sys::event::wait_any;
use crate::sys::socket;

/// More wait in the listener's queue, or are taken by another process.
const CONNECTIONS: usize = 1000;
/// As long as fd3 gives a worker at a reload.
const DRAIN: Duration = Duration::from_secs(60);
/// Taken at the most after it was told to stop: as many as a queue holds by default (net.core.somaxconn).
const LAST_ONES: usize = 4096;
/// For as long a server rests that is short of descriptors, memory or threads; only time helps then, as the queue
/// stays readable.
const REST: Duration = Duration::from_millis(50);

/// What connections come from: [`TcpListener`] and [`UnixListener`].
///
/// ```
/// use fd3::serve::{Listener, Server};
///
/// fn quiet<L: Listener>(listener: L) -> Server<L> {
///     Server::new(listener).max_connections(10)
/// }
/// ```
pub trait Listener: AsFd + sealed::Accept<Self::Stream> {
    /// A connection.
    ///
    /// ```
    /// fn greet<L: fd3::serve::Listener>(client: L::Stream)
    /// where
    ///     L::Stream: std::io::Write,
    /// {
    ///     let mut client = client;
    ///     let _ = std::io::Write::write_all(&mut client, b"hello\n");
    /// }
    /// ```
    type Stream: Send + 'static;
}

impl Listener for TcpListener {
    type Stream = TcpStream;
}

impl Listener for UnixListener {
    type Stream = UnixStream;
}

mod sealed {
    pub trait Accept<Stream> {
        fn next(&self) -> std::io::Result<Stream>;
    }
}

impl sealed::Accept<TcpStream> for TcpListener {
    fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept()?.0)
    }
}

impl sealed::Accept<UnixStream> for UnixListener {
    fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept()?.0)
    }
}

/// A blocking server with a thread for each connection.
///
/// ```no_run
/// use std::io::{BufRead, BufReader, Write};
/// use std::net::TcpStream;
/// use std::time::Duration;
///
/// fn echo(client: TcpStream) -> std::io::Result<()> {
///     let mut line = String::new();
///     BufReader::new(&client).read_line(&mut line)?;
///     (&client).write_all(line.as_bytes())
/// }
///
/// let listener = fd3::inherit::bind_or_inherit("127.0.0.1:9000")?;
/// let left = fd3::serve::Server::new(listener)
///     .drain_timeout(Duration::from_secs(20))
///     .run(|client| {
///         if let Err(error) = echo(client) {
///             eprintln!("a client: {error}");
///         }
///     })?;
/// eprintln!("{left} connections were not finished");
/// # Ok::<(), fd3::Error>(())
/// ```
#[must_use = "it serves when it is run"]
pub struct Server<L> {
    listener: L,
    stop: Option<Stop>,
    drain: Duration,
    most: usize,
}

impl<L: fmt::Debug> fmt::Debug for Server<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl<L: Listener> Server<L> {
    /// Stops on `TERM`, `INT` and `QUIT` ([`Stop::on_signals`]), is patient for 60 s, and has at most 1000 connections at
    /// once.
    ///
    /// ```
    /// let listener = fd3::inherit::bind_or_inherit("127.0.0.1:0")?;
    /// let server = fd3::serve::Server::new(listener);
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn new(listener: L) -> Server<L> {
        Server { listener, stop: None, drain: DRAIN, most: CONNECTIONS }
    }

    /// Who tells it to stop; several servers of one program share it.
    ///
    /// ```
    /// use fd3::serve::{Server, Stop};
    ///
    /// let stop = Stop::on_signals()?;
    /// let listener = fd3::inherit::bind_or_inherit("127.0.0.1:0")?;
    /// let server = Server::new(listener).stop(stop.try_clone()?);
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn stop(self, stop: Stop) -> Server<L> {
        Server { stop: Some(stop), ..self }
    }

    /// For how long, after it was told to stop, it waits for its connections. fd3's `--drain-timeout` and
    /// `--stop-timeout` should be longer, or they decide.
    ///
    /// ```
    /// # let listener = fd3::inherit::bind_or_inherit("127.0.0.1:0")?;
    /// # use fd3::serve::Server;
    /// let server = Server::new(listener).drain_timeout(std::time::Duration::from_secs(5));
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn drain_timeout(self, limit: Duration) -> Server<L> {
        Server { drain: limit, ..self }
    }

    /// How many connections it has at once. More wait in the listener's queue, or are another process's.
    ///
    /// ```
    /// # let listener = fd3::inherit::bind_or_inherit("127.0.0.1:0")?;
    /// # use fd3::serve::Server;
    /// let server = Server::new(listener).max_connections(50);
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn max_connections(self, most: usize) -> Server<L> {
        Server { most: most.max(1), ..self }
    }

    /// Says [`ready`](ready::ready), hands each connection to `handler` in a thread of its own, and when it is told to
    /// stop says [`stopping`](ready::stopping), takes what is in the queue by then, closes the listener, and waits until
    /// all connections are done. Returns how many were not when its patience was over: their threads go on until the
    /// program ends.
    ///
    /// Connections come blocking. The listener is made non-blocking for every process that shares it: another one may
    /// take the connection that woke this one. A handler with keep-alive connections looks at a [`Stop`] of its own,
    /// to know when to make a request the last one.
    ///
    /// # Errors
    /// When the supervisor cannot be told, or when the listener does not listen (any more). What is wrong with one
    /// connection, or passes, is no error.
    ///
    /// ```no_run
    /// # let listener = fd3::inherit::bind_or_inherit("127.0.0.1:9000")?;
    /// let stop = fd3::serve::Stop::on_signals()?;
    /// let told = stop.try_clone()?;
    /// fd3::serve::Server::new(listener).stop(stop).run(move |client| {
    ///     while !told.is_told() {
    ///         // another request of this client's
    /// #       let _ = &client;
    ///     }
    /// })?;
    /// # Ok::<(), fd3::Error>(())
    /// ```
    pub fn run<F>(self, handler: F) -> Result<usize, Error>
    where
        F: Fn(L::Stream) + Send + Sync + 'static,
    {
        let Server { listener, stop, drain, most } = self;
        let stop = match stop {
            Some(stop) => stop,
            None => Stop::on_signals()?,
        };
        socket::set_nonblocking(listener.as_fd()).map_err(cannot_listen)?;
        let in_flight = InFlight::at_most(most)?;
        let accepting = Accepting { listener, stop, in_flight, handler: Arc::new(handler) };
        ready::ready()?;
        accepting.until_told()?;
        let Accepting { listener, in_flight, .. } = accepting;
        let told = ready::stopping();
        drop(listener);
        let left = in_flight.wait(drain);
        told.map(|()| left)
    }
}

struct Accepting<L, F> {
    listener: L,
    stop: Stop,
    in_flight: InFlight,
    handler: Arc<F>,
}

/// A thread that waits for its connection: who has taken one has a thread for it for certain.
struct Spare<S>(SyncSender<(S, Guard)>);

impl<L: Listener, F: Fn(L::Stream) + Send + Sync + 'static> Accepting<L, F> {
    /// Returns with the queue empty: when the whole service stops, nobody else would take what is in it.
    fn until_told(&self) -> Result<(), Error> {
        let (mut spare, mut last_ones) = (None, 0);
        while last_ones < LAST_ONES {
            let told = self.stop.is_told();
            last_ones += usize::from(told);
            match self.next(&mut spare) {
                Ok(()) => {}
                Err(Obstacle::Never(errno)) => return Err(cannot_listen(errno)),
                Err(Obstacle::Gone) => {}
                Err(_) if told => return Ok(()),
                Err(obstacle) => self.wait(obstacle),
            }
        }
        Ok(())
    }

    fn next(&self, spare: &mut Option<Spare<L::Stream>>) -> Result<(), Obstacle> {
        if self.in_flight.count() >= self.in_flight.0.most {
            return Err(Obstacle::Full);
        }
        let thread = match spare.take() {
            Some(thread) => thread,
            None => self.thread().map_err(|_| Obstacle::Short)?,
        };
        match self.listener.next() {
            Ok(stream) => {
                // It is there: it waits for just this.
                let _ = thread.0.send((stream, self.in_flight.enter()));
                Ok(())
            }
            Err(error) => {
                *spare = Some(thread);
                Err(Obstacle::from(&error))
            }
        }
    }

    fn thread(&self) -> Result<Spare<L::Stream>, Errno> {
        let (give, take) = sync_channel::<(L::Stream, Guard)>(1);
        let handler = self.handler.clone();
        super::thread("connection", move |own| {
            if let Ok((stream, _guard)) = take.recv() {
                own.during(|| handler(stream));
            }
        })?;
        Ok(Spare(give))
    }

    /// What ends a wait, or fails it, is seen by whoever comes next.
    fn wait(&self, why: Obstacle) {
        let stop = self.stop.as_fd();
        let _ = match why {
            Obstacle::Nobody => wait_any([stop, self.listener.as_fd()], None),
            Obstacle::Full => wait_any([stop, self.in_flight.0.room.as_fd()], None),
            Obstacle::Short | Obstacle::Gone | Obstacle::Never(_) => {
                wait_any([stop, stop], Some(REST))
            }
        };
    }
}

/// Why there is no next connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Obstacle {
    /// The queue is empty.
    Nobody,
    /// There are as many as may be.
    Full,
    /// Of threads, descriptors or memory.
    Short,
    /// The client went away while it was in the queue.
    Gone,
    /// And there never will be one.
    Never(Errno),
}

impl Obstacle {
    fn from(error: &io::Error) -> Obstacle {
        match error.raw_os_error() {
            Some(libc::EAGAIN) => Obstacle::Nobody,
            Some(libc::ECONNABORTED | libc::EINTR) => Obstacle::Gone,
            Some(errno @ (libc::EBADF | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP)) => {
                Obstacle::Never(Errno(errno))
            }
            // Firewalls and networks that fail come and go (accept(2)).
            Some(_) | None => Obstacle::Short,
        }
    }
}

fn cannot_listen(errno: Errno) -> Error {
    Error::system("accept", "connections", errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::sync::mpsc::channel;
    use std::thread;

    fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        (listener, address)
    }

    #[test]
    fn what_is_in_flight_and_in_the_queue_is_answered_after_the_stop() {
        let (listener, address) = listener();
        let stop = Stop::new().expect("there are descriptors");
        let told = stop.try_clone().expect("there are descriptors");
        let (begun, is_begun) = channel();
        let server = Server::new(listener).stop(stop).max_connections(2);
        let handler = move |mut client: TcpStream| {
            begun.send(()).expect("somebody waits");
            let mut byte = [0];
            client.read_exact(&mut byte).expect("it asks");
            client.write_all(&byte).expect("it reads");
        };
        let server = thread::spawn(move || server.run(handler));
        let mut clients: Vec<_> =
            (0..2).map(|_| TcpStream::connect(address).expect("it listens")).collect();
        for _ in &clients {
            is_begun.recv().expect("it serves");
        }
        told.tell();
        for client in &mut clients {
            client.write_all(b"x").expect("it is open");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("it answers and closes");
            assert_eq!(answer, "x");
        }
        assert_eq!(server.join().expect("it does not panic"), Ok(0));
        assert!(TcpStream::connect(address).is_err());
    }

    #[test]
    fn its_patience_ends_and_it_tells_how_many_it_left() {
        let (listener, address) = listener();
        let stop = Stop::new().expect("there are descriptors");
        let told = stop.try_clone().expect("there are descriptors");
        let (begun, is_begun) = channel();
        let server = Server::new(listener).stop(stop).drain_timeout(Duration::from_millis(1));
        let server = thread::spawn(move || {
            server.run(move |mut client: TcpStream| {
                begun.send(()).expect("somebody waits");
                let _ = client.read(&mut [0]);
            })
        });
        let client = TcpStream::connect(address).expect("it listens");
        is_begun.recv().expect("it serves");
        told.tell();
        assert_eq!(server.join().expect("it does not panic"), Ok(1));
        drop(client);
    }

    #[test]
    fn more_than_the_most_wait_for_their_turn() {
        let (listener, address) = listener();
        let stop = Stop::new().expect("there are descriptors");
        let told = stop.try_clone().expect("there are descriptors");
        let server = Server::new(listener).stop(stop).max_connections(1);
        let server = thread::spawn(move || {
            server.run(|mut client: TcpStream| {
                let _ = client.read_to_end(&mut Vec::new());
                let _ = client.write_all(b"done");
            })
        });
        let mut clients: Vec<_> =
            (0..5).map(|_| TcpStream::connect(address).expect("it listens")).collect();
        for client in &mut clients {
            client.shutdown(std::net::Shutdown::Write).expect("it is open");
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("it answers");
            assert_eq!(answer, "done");
        }
        told.tell();
        assert_eq!(server.join().expect("it does not panic"), Ok(0));
    }

    #[test]
    fn what_does_not_listen_is_an_error() {
        let (listener, _) = listener();
        let stop = Stop::new().expect("there are descriptors");
        rustix::net::shutdown(&listener, rustix::net::Shutdown::Both).expect("it is a socket");
        let error = Server::new(listener).stop(stop).run(drop).expect_err("it is shut");
        assert_eq!(error.to_string(), "cannot accept connections: invalid argument");
    }
}
