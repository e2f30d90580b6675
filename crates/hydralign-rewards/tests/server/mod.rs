//! A server on the loopback address that plays a script.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What happens to one connection.
pub(crate) enum Act {
    /// A status, more header lines and a body.
    Http(u16, &'static str, Vec<u8>),
    /// The request is read and the connection closed.
    Drop,
    /// Some of an answer, then the end.
    BreakOff,
    /// The request is read and nothing comes back.
    Silence,
    /// A byte now and then, without an end.
    Drip,
}

/// A chat completion that says something.
pub(crate) fn says(text: &str) -> Act {
    let body = json!({"choices": [{"message": {"role": "assistant", "content": text}}]});
    Act::Http(200, "", body.to_string().into_bytes())
}

pub(crate) fn status(status: u16) -> Act {
    Act::Http(status, "", format!("status {status}").into_bytes())
}

/// A request as it arrived.
pub(crate) struct Seen {
    pub(crate) head: String,
    pub(crate) body: Value,
    pub(crate) at: Instant,
}

impl Seen {
    /// What the user's message holds.
    pub(crate) fn user(&self) -> Value {
        serde_json::from_str(self.body["messages"][1]["content"].as_str().unwrap()).unwrap()
    }
}

pub(crate) struct Server {
    port: u16,
    done: Arc<AtomicBool>,
    /// What was seen, and the connections that were kept open until the end.
    thread: JoinHandle<(Vec<Seen>, Vec<TcpStream>)>,
}

impl Server {
    pub(crate) fn plays(script: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let done = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&done);
        let thread = std::thread::spawn(move || play(&listener, script, &stop));
        Self { port, done, thread }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// The requests that came.
    pub(crate) fn seen(self) -> Vec<Seen> {
        self.done.store(true, Ordering::SeqCst);
        // Wakes the server where it waits for a connection; it may have ended by itself.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        self.thread.join().unwrap().0
    }
}

fn play(
    listener: &TcpListener,
    script: Vec<Act>,
    stop: &AtomicBool,
) -> (Vec<Seen>, Vec<TcpStream>) {
    let mut seen = Vec::new();
    let mut open = Vec::new();
    for act in script {
        let (mut stream, _) = listener.accept().unwrap();
        if stop.load(Ordering::SeqCst) {
            break;
        }
        seen.push(receive(&stream));
        match act {
            // A client that has read enough closes its end: nothing is wrong here.
            Act::Http(status, lines, body) => drop(answer(&mut stream, status, lines, &body)),
            Act::Drop => {}
            Act::BreakOff => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"cho").unwrap();
            }
            Act::Silence => open.push(stream),
            Act::Drip => drip(stream),
        }
    }
    (seen, open)
}

fn receive(stream: &TcpStream) -> Seen {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line == "\r\n" {
            break;
        }
        let line = line.to_lowercase();
        length = line.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Seen { head, body: serde_json::from_slice(&body).unwrap(), at: Instant::now() }
}

fn answer(stream: &mut TcpStream, status: u16, lines: &str, body: &[u8]) -> std::io::Result<()> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {length}\r\n{lines}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)
}

/// Ends when the client has gone.
fn drip(mut stream: TcpStream) {
    std::thread::spawn(move || {
        let mut next: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        while stream.write_all(next).is_ok() {
            next = b" ";
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}
