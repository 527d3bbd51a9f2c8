//! A proxy that speaks enough of the wire protocol to lose a connection where it hurts: around the commit.
//!
//! It reads whole messages. A request ends with Query or Sync, its reply with ReadyForQuery, whose status tells
//! whether a transaction is open. So it knows which request will commit (COMMIT, or one sent while no transaction is
//! open), and holds the reply back until it is whole: by then the server has committed.

use std::io;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The committing request never reaches the server.
    Request,
    /// The request is sent, and both ends are dropped at once: the server may commit or not.
    InFlight,
    /// The server has committed and answered; the client gets no byte of it.
    BeforeReply,
    /// The client gets a part of the reply.
    MidReply,
    /// The client gets the reply, and the connection is gone.
    AfterReply,
}

impl Cut {
    /// In the order of time.
    pub const ALL: [Cut; 5] = [Cut::Request, Cut::InFlight, Cut::BeforeReply, Cut::MidReply, Cut::AfterReply];

    /// As the report names it.
    pub const fn name(self) -> &'static str {
        match self {
            Cut::Request => "before the request",
            Cut::InFlight => "in flight",
            Cut::BeforeReply => "just before the reply",
            Cut::MidReply => "within the reply",
            Cut::AfterReply => "just after the reply",
        }
    }
}

/// Where the proxy leads.
#[derive(Clone, Debug)]
pub enum Target {
    /// A server's socket.
    Unix(String),
    /// A port of 127.0.0.1.
    Tcp(u16),
    /// Nowhere: every connection is refused.
    Nowhere,
}

/// A listening proxy.
#[derive(Debug)]
pub struct Proxy {
    /// Of 127.0.0.1.
    pub port: u16,
    target: watch::Sender<Target>,
    /// Nothing is read on the way: for replication, which is no sequence of requests and replies.
    plain: bool,
    /// Cuts for each ten thousand commits.
    rate: AtomicU64,
    cuts: [AtomicU64; 5],
    commits: AtomicU64,
    random: Mutex<StdRng>,
}

impl Proxy {
    /// Listens, and leads to the target.
    pub async fn start(target: Target, seed: u64) -> io::Result<Arc<Proxy>> {
        Proxy::listen(target, seed, false).await
    }

    /// The same, without a look at what passes.
    pub async fn plain(target: Target) -> io::Result<Arc<Proxy>> {
        Proxy::listen(target, 0, true).await
    }

    async fn listen(target: Target, seed: u64, plain: bool) -> io::Result<Arc<Proxy>> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let proxy = Arc::new(Proxy {
            port: listener.local_addr()?.port(),
            target: watch::channel(target).0,
            plain,
            rate: AtomicU64::new(0),
            cuts: Default::default(),
            commits: AtomicU64::new(0),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
        });
        let served = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let _ = client.set_nodelay(true);
                tokio::spawn(serve(served.clone(), client));
            }
        });
        Ok(proxy)
    }

    /// Leads elsewhere from now on. Connections to the former target are dropped.
    pub fn lead_to(&self, target: Target) {
        self.target.send_replace(target);
    }

    /// So many of ten thousand commits are cut.
    pub fn cut(&self, of_ten_thousand: u64) {
        self.rate.store(of_ten_thousand, Ordering::Relaxed);
    }

    /// How often each cut was made.
    pub fn cuts(&self) -> [u64; 5] {
        self.cuts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Replies seen that ended a transaction without an error.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn roll(&self) -> Option<Cut> {
        let mut random = self.random.lock().expect("random");
        let hit = random.random_range(0..10_000) < self.rate.load(Ordering::Relaxed);
        hit.then(|| Cut::ALL[random.random_range(0..Cut::ALL.len())])
    }

    fn count(&self, cut: Cut) {
        self.cuts[cut as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// What both directions of one connection know.
#[derive(Debug)]
struct Both {
    /// The status byte of the last ReadyForQuery.
    status: AtomicU8,
    planned: Mutex<Option<Cut>>,
}

async fn serve(proxy: Arc<Proxy>, client: TcpStream) {
    let mut moved = proxy.target.subscribe();
    let target = moved.borrow_and_update().clone();
    let served = async {
        match target {
            Target::Unix(path) => relay(&proxy, client, UnixStream::connect(path).await?).await,
            Target::Tcp(port) => {
                let server = TcpStream::connect(("127.0.0.1", port)).await?;
                server.set_nodelay(true)?;
                relay(&proxy, client, server).await
            }
            Target::Nowhere => Ok(()),
        }
    };
    // Whichever ends first ends both: dropping the sockets closes them.
    tokio::select! {
        _ = served => {}
        _ = moved.changed() => {}
    }
}

/// SSLRequest and GSSENCRequest, which are answered with no; CancelRequest, after which nothing follows.
const ENCRYPTION: [u32; 2] = [80_877_103, 80_877_104];
const CANCEL: u32 = 80_877_102;

async fn relay<S: AsyncRead + AsyncWrite + Unpin>(
    proxy: &Proxy,
    mut client: TcpStream,
    mut server: S,
) -> io::Result<()> {
    if proxy.plain {
        return tokio::io::copy_bidirectional(&mut client, &mut server).await.map(|_| ());
    }
    let (mut from_server, mut to_server) = tokio::io::split(server);
    loop {
        let mut first = [0_u8; 8];
        client.read_exact(&mut first).await?;
        let (length, code) = first.split_at(4);
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        let code = u32::from_be_bytes(code.try_into().expect("four bytes"));
        if ENCRYPTION.contains(&code) {
            client.write_all(b"N").await?;
            continue;
        }
        let mut rest = vec![0; length.saturating_sub(8) as usize];
        client.read_exact(&mut rest).await?;
        to_server.write_all(&first).await?;
        to_server.write_all(&rest).await?;
        if code == CANCEL {
            return Ok(());
        }
        break;
    }
    let (mut from_client, mut to_client) = client.into_split();
    let both = Both { status: AtomicU8::new(0), planned: Mutex::new(None) };
    tokio::select! {
        ended = requests(proxy, &both, &mut from_client, &mut to_server) => ended,
        ended = replies(proxy, &both, &mut from_server, &mut to_client) => ended,
    }
}

/// Appends one message to the buffer; its type, and where its body begins.
async fn message<R: AsyncRead + Unpin>(from: &mut R, buffer: &mut Vec<u8>) -> io::Result<(u8, usize)> {
    let mut head = [0_u8; 5];
    from.read_exact(&mut head).await?;
    let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes")) as usize;
    buffer.extend_from_slice(&head);
    let body = buffer.len();
    buffer.resize(body + length.saturating_sub(4), 0);
    from.read_exact(&mut buffer[body..]).await?;
    Ok((head[0], body))
}

/// Whether this statement ends the transaction that it runs in, given the last status.
fn commits(statement: &[u8], status: u8) -> bool {
    let begins = |word: &[u8]| statement.len() >= word.len() && statement[..word.len()] == *word;
    if status == b'I' { !begins(b"BEGIN") && !begins(b"ROLLBACK") } else { begins(b"COMMIT") }
}

async fn requests<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    proxy: &Proxy,
    both: &Both,
    from_client: &mut R,
    to_server: &mut W,
) -> io::Result<()> {
    let mut request = Vec::new();
    let mut committing = false;
    loop {
        let (kind, body) = message(from_client, &mut request).await?;
        let status = both.status.load(Ordering::Acquire);
        match kind {
            b'Q' => committing = commits(&request[body..], status),
            // Parse: the statement's name, then its text.
            b'P' => {
                let name = request[body..].iter().position(|byte| *byte == 0).unwrap_or_default();
                committing = commits(&request[body + name + 1..], status);
            }
            _ => {}
        }
        // Parse, Bind, Describe, Execute and Close wait for the Sync after them.
        if matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C') {
            continue;
        }
        let cut = if committing { proxy.roll() } else { None };
        match cut {
            Some(cut @ Cut::Request) => {
                proxy.count(cut);
                return Ok(());
            }
            Some(cut @ Cut::InFlight) => {
                to_server.write_all(&request).await?;
                to_server.flush().await?;
                proxy.count(cut);
                return Ok(());
            }
            _ => *both.planned.lock().expect("planned") = cut,
        }
        to_server.write_all(&request).await?;
        request.clear();
        committing = false;
    }
}

async fn replies<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    proxy: &Proxy,
    both: &Both,
    from_server: &mut R,
    to_client: &mut W,
) -> io::Result<()> {
    let mut reply = Vec::new();
    let (mut failed, mut completed) = (false, false);
    loop {
        let whole = reply.len();
        let (kind, body) = match message(from_server, &mut reply).await {
            Ok(read) => read,
            Err(ended) => {
                // The server's last words, for instance why it ends the connection.
                to_client.write_all(&reply[..whole]).await?;
                return Err(ended);
            }
        };
        match kind {
            b'E' => failed = true,
            b'C' => completed = true,
            _ => {}
        }
        if kind != b'Z' {
            continue;
        }
        let status = reply[body];
        both.status.store(status, Ordering::Release);
        let planned = both.planned.lock().expect("planned").take();
        if status == b'I' && completed && !failed {
            proxy.commits.fetch_add(1, Ordering::Relaxed);
            if let Some(cut) = planned {
                proxy.count(cut);
                let shown = match cut {
                    Cut::BeforeReply => 0,
                    Cut::MidReply => reply.len() / 2,
                    _ => reply.len(),
                };
                to_client.write_all(&reply[..shown]).await?;
                to_client.flush().await?;
                return Ok(());
            }
        }
        to_client.write_all(&reply).await?;
        reply.clear();
        (failed, completed) = (false, false);
    }
}
