//! A listening socket and the TLS of its connections, both of which can be exchanged while a
//! server takes connections: what a reload changes of an address or a certificate.
//!
//! An exchange has two steps. [`Listener::prepare`] binds what is new and changes nothing, so that
//! a reload that fails leaves all as it was; [`Listener::apply`] can't fail. Connections that were
//! taken before go on as they are, and those that wait in the old socket's queue are taken too.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// Connections that wait in the kernel until they are taken.
const BACKLOG: i32 = 1_024;

/// Where a server listens. Clones are the same socket; it closes once the server that takes its
/// connections has ended.
#[derive(Clone)]
pub struct Listener(Arc<watch::Sender<State>>);

/// As it is now.
#[derive(Clone, Default)]
struct State {
    /// The address as it was asked for, maybe with port 0.
    wanted: Option<SocketAddr>,
    socket: Option<Arc<StdListener>>,
    tls: Option<TlsAcceptor>,
}

/// What a listener is to become: see [`Listener::prepare`].
pub struct Change(State);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (address, tls) = (self.address(), self.is_tls());
        f.debug_struct("Listener")
            .field("address", &address)
            .field("tls", &tls)
            .finish()
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Change").field(&self.address()).finish()
    }
}

impl Listener {
    /// Listens nowhere yet.
    pub fn closed() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// Binds `address`; TLS with this configuration where given.
    ///
    /// # Errors
    /// The address is taken or not of this machine.
    #[allow(clippy::unused_async)] // as other listeners are bound
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> io::Result<Self> {
        let listener = Self::closed();
        listener.apply(listener.prepare(Some(address), tls)?);
        Ok(listener)
    }

    /// Binds `address` unless this is where it listens already (`None`: nowhere), and changes
    /// nothing. The change has the new TLS too.
    ///
    /// # Errors
    /// The address is taken or not of this machine.
    pub fn prepare(
        &self,
        address: Option<SocketAddr>,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> io::Result<Change> {
        let now = self.0.borrow().clone();
        let stays = address.is_some() && (address == now.wanted || address == self.address());
        let socket = match address {
            Some(_) if stays && now.socket.is_some() => now.socket,
            Some(address) => Some(Arc::new(open_beside(address, now.socket.as_deref())?)),
            None => None,
        };
        Ok(Change(State {
            wanted: address,
            socket,
            tls: tls.map(TlsAcceptor::from),
        }))
    }

    /// Listens from now on as this change of it says.
    pub fn apply(&self, change: Change) {
        self.0.send_replace(change.0);
    }

    /// Where it listens, the port chosen by the system included; `None`: nowhere.
    pub fn address(&self) -> Option<SocketAddr> {
        address_of(&self.0.borrow())
    }

    /// The same where it must be somewhere.
    ///
    /// # Errors
    /// It listens nowhere.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Whether it speaks TLS.
    pub fn is_tls(&self) -> bool {
        self.0.borrow().tls.is_some()
    }

    /// Its connections, for the one server that takes them.
    pub fn incoming(&self) -> Incoming {
        Incoming {
            changes: self.0.subscribe(),
            listener: self.clone(),
            held: None,
            left: VecDeque::new(),
        }
    }
}

impl Change {
    /// Where it will listen.
    pub fn address(&self) -> Option<SocketAddr> {
        address_of(&self.0)
    }
}

fn address_of(state: &State) -> Option<SocketAddr> {
    state.socket.as_ref()?.local_addr().ok()
}

/// The connections of a listener. Closes the socket when dropped.
pub struct Incoming {
    listener: Listener,
    changes: watch::Receiver<State>,
    held: Option<(Arc<StdListener>, TcpListener)>,
    /// Connections that an exchanged socket had not given yet.
    left: VecDeque<(StdStream, SocketAddr)>,
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Incoming").field(&self.listener).finish()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.listener.0.send_replace(State::default());
    }
}

impl Incoming {
    /// The next connection, and the TLS that it is to speak. Waits while the listener listens
    /// nowhere. Cancel-safe. Belongs on the runtime that serves the connections.
    ///
    /// # Errors
    /// The system gives no connection (out of file descriptors, mostly); the next call tries again.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr, Option<TlsAcceptor>)> {
        loop {
            self.follow()?;
            if let Some((stream, address)) = self.left.pop_front() {
                stream.set_nonblocking(true)?;
                return Ok((TcpStream::from_std(stream)?, address, self.tls()));
            }
            let accepted = async {
                match &self.held {
                    Some((_, tcp)) => tcp.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = self.changes.changed() => {}
                accepted = accepted => {
                    let (stream, address) = accepted?;
                    return Ok((stream, address, self.tls()));
                }
            }
        }
    }

    fn tls(&self) -> Option<TlsAcceptor> {
        self.changes.borrow().tls.clone()
    }

    /// Goes over to the socket of now.
    fn follow(&mut self) -> io::Result<()> {
        let wanted = self.changes.borrow_and_update().socket.clone();
        let same = match (&self.held, &wanted) {
            (Some((held, _)), Some(wanted)) => Arc::ptr_eq(held, wanted),
            (None, None) => true,
            _ => false,
        };
        if same {
            return Ok(());
        }
        let next = match wanted {
            Some(socket) => {
                let tcp = TcpListener::from_std(socket.try_clone()?)?;
                Some((socket, tcp))
            }
            None => None,
        };
        if let Some((old, _)) = std::mem::replace(&mut self.held, next) {
            // No more than the kernel's queue holds.
            let waiting = std::iter::from_fn(|| old.accept().ok());
            self.left
                .extend(waiting.take(BACKLOG.unsigned_abs() as usize));
        }
        Ok(())
    }
}

/// Binds `address`. Where `own` has its port already, on an address that overlaps with it (all
/// of this machine's against one), both have it until `own` is closed.
fn open_beside(address: SocketAddr, own: Option<&StdListener>) -> io::Result<StdListener> {
    let taken = match open(address, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
        opened => return opened,
    };
    let overlaps = |own: SocketAddr| {
        own.port() == address.port()
            && own.ip() != address.ip()
            && (own.ip().is_unspecified() || address.ip().is_unspecified())
    };
    let own = own.filter(|own| own.local_addr().is_ok_and(overlaps));
    let Some(own) = own.map(SockRef::from) else {
        return Err(taken);
    };
    own.set_reuse_port(true)?;
    let opened = open(address, true);
    let shut = own.set_reuse_port(false);
    let opened = opened?;
    shut.and_then(|()| SockRef::from(&opened).set_reuse_port(false))?;
    Ok(opened)
}

fn open(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // Connections of the process before linger; they must not keep us out.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const LOCAL: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    async fn reach(address: SocketAddr, incoming: &mut Incoming) -> TcpStream {
        let (connected, taken) = tokio::join!(TcpStream::connect(address), incoming.accept());
        taken.unwrap().0.write_all(b"x").await.unwrap();
        connected.unwrap()
    }

    #[tokio::test]
    async fn an_exchange_loses_no_connection_and_closes_the_old_address() {
        let listener = Listener::bind(LOCAL, None).await.unwrap();
        let mut incoming = listener.incoming();
        let old = listener.address().unwrap();
        let mut before = reach(old, &mut incoming).await;
        // In the kernel's queue when the address changes.
        let mut waiting = TcpStream::connect(old).await.unwrap();
        let change = listener.prepare(Some(SocketAddr::new(LOCAL.ip(), 0)), None);
        assert_eq!(
            change.unwrap().address(),
            Some(old),
            "port 0 is where it is"
        );
        let other = Listener::bind(LOCAL, None).await.unwrap();
        let new = other.address().unwrap();
        assert!(listener.prepare(Some(new), None).is_err(), "taken");
        assert_eq!(listener.address(), Some(old), "nothing changed");
        drop((other.incoming(), other));
        listener.apply(listener.prepare(Some(new), None).unwrap());
        let (mut taken, ..) = incoming.accept().await.unwrap();
        taken.write_all(b"x").await.unwrap();
        drop(reach(new, &mut incoming).await);
        assert!(TcpStream::connect(old).await.is_err(), "closed");
        let mut byte = [0];
        for stream in [&mut before, &mut waiting] {
            stream.read_exact(&mut byte).await.unwrap();
        }
        drop(incoming);
        assert!(TcpStream::connect(new).await.is_err(), "closed at the end");
    }

    #[tokio::test]
    async fn one_address_and_all_of_this_machine_take_over_from_each_other() {
        let listener = Listener::bind(LOCAL, None).await.unwrap();
        let mut incoming = listener.incoming();
        let one = listener.address().unwrap();
        let all = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), one.port());
        for wanted in [all, one, all] {
            listener.apply(listener.prepare(Some(wanted), None).unwrap());
            drop(reach(one, &mut incoming).await);
            assert_eq!(listener.address(), Some(wanted));
            // Another daemon can't take the port.
            assert!(open(one, false).is_err());
        }
    }
}
