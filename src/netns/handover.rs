//! The sockets of the namespace, on their way from the process that made them to the proxy (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::refused::RefusedCounter;

/// The most sockets.
const SOCKETS: usize = 9;
/// The longest message: why the namespace cannot be used.
const MESSAGE_BYTES: usize = 4096;

/// What is open inside the namespace.
pub struct Inside {
    /// Where the command reaches the proxy itself.
    pub proxy: TcpListener,
    /// Where its connections to others are redirected to: IPv4, and IPv6 where the system has it.
    pub redirected: Vec<TcpListener>,
    /// Where its questions for names are redirected to.
    pub names: Vec<Names>,
    /// Tells who owns a connection of the namespace (sock_diag(7)).
    pub diag: OwnedFd,
    /// Tells how many packets were refused.
    pub refused: RefusedCounter,
}

/// The sockets for questions of one version of IP.
pub struct Names {
    /// For short ones.
    pub udp: UdpSocket,
    /// For long answers.
    pub tcp: TcpListener,
}

/// What the process in the namespace says.
pub(super) enum Said {
    /// The namespace is ready.
    Ready(Box<Inside>),
    /// It cannot be used, for this reason.
    Failed(String),
}

/// Passes the sockets on. They stay open here until the message is dropped.
pub(super) fn send(stream: &UnixStream, said: &Said) -> io::Result<()> {
    let (text, sockets) = match said {
        Said::Ready(inside) => ("", inside.in_order()),
        Said::Failed(why) => (why.as_str(), Vec::new()),
    };
    // Its first byte is the number of sockets, so that a message is never empty.
    let count = u8::try_from(sockets.len()).map_err(io::Error::other)?;
    let text = &text.as_bytes()[..text.len().min(MESSAGE_BYTES - 1)];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
        return Err(io::Error::other("too many sockets for one message"));
    }
    sendmsg(stream, &[IoSlice::new(&[count]), IoSlice::new(text)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes what [`send`] has sent. Blocks.
pub(super) fn receive(stream: &UnixStream) -> io::Result<Said> {
    let mut text = [0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let bytes = recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, flags)?.bytes;
    let sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
        _ => None,
    });
    let sockets: Vec<OwnedFd> = sockets.flatten().collect();
    match text.get(..bytes) {
        Some([0, why @ ..]) => Ok(Said::Failed(String::from_utf8_lossy(why).into_owned())),
        Some([count]) if usize::from(*count) == sockets.len() => {
            let inside = Inside::from_order(sockets).ok_or_else(|| io::Error::other("a socket is missing"))?;
            Ok(Said::Ready(Box::new(inside)))
        }
        Some([]) | None => Err(io::ErrorKind::UnexpectedEof.into()),
        Some(_) => Err(io::Error::other("its message is not whole")),
    }
}

impl Inside {
    fn in_order(&self) -> Vec<BorrowedFd<'_>> {
        let mut all = vec![self.diag.as_fd(), self.refused.as_fd(), self.proxy.as_fd()];
        for (redirected, names) in self.redirected.iter().zip(&self.names) {
            all.extend([redirected.as_fd(), names.udp.as_fd(), names.tcp.as_fd()]);
        }
        all
    }

    fn from_order(sockets: Vec<OwnedFd>) -> Option<Self> {
        let mut left = sockets.into_iter();
        let (diag, refused, proxy) = (left.next()?, left.next()?, left.next()?);
        let (mut redirected, mut names) = (Vec::new(), Vec::new());
        while let Some(socket) = left.next() {
            redirected.push(TcpListener::from(socket));
            names.push(Names { udp: left.next()?.into(), tcp: left.next()?.into() });
        }
        Some(Self { proxy: proxy.into(), redirected, names, diag, refused: RefusedCounter::of(refused) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside() -> Inside {
        let tcp = || TcpListener::bind("127.0.0.1:0").unwrap();
        let names = || Names { udp: UdpSocket::bind("127.0.0.1:0").unwrap(), tcp: tcp() };
        Inside {
            proxy: tcp(),
            redirected: vec![tcp(), tcp()],
            names: vec![names(), names()],
            diag: tcp().into(),
            refused: RefusedCounter::of(tcp().into()),
        }
    }

    #[test]
    fn all_sockets_arrive_in_their_places() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sent = inside();
        let addresses = |inside: &Inside| {
            let mut all = vec![inside.proxy.local_addr().unwrap()];
            all.extend(inside.redirected.iter().map(|listener| listener.local_addr().unwrap()));
            for names in &inside.names {
                all.extend([names.udp.local_addr().unwrap(), names.tcp.local_addr().unwrap()]);
            }
            all
        };
        let before = addresses(&sent);
        send(&theirs, &Said::Ready(Box::new(sent))).unwrap();
        let Said::Ready(received) = receive(&ours).unwrap() else { panic!() };
        assert_eq!(addresses(&received), before);
        send(&theirs, &Said::Failed("why".to_owned())).unwrap();
        assert!(matches!(receive(&ours).unwrap(), Said::Failed(why) if why == "why"));
        drop(theirs);
        assert!(receive(&ours).is_err());
    }
}
