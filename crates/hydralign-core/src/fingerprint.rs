use sha2::{Digest, Sha256};
use std::io::{self, Read};

/// A name for data and weights that is the same exactly if they are: SHA-256 over typed parts, each with
/// its length, so that parts cannot run into each other.
#[derive(Clone, Debug)]
pub struct Fingerprint(Sha256);

impl Fingerprint {
    /// The beginning of a fingerprint for some purpose.
    pub fn new(purpose: &str) -> Self {
        let mut fingerprint = Self(Sha256::new());
        fingerprint.text(purpose);
        fingerprint
    }

    /// Adds a text.
    pub fn text(&mut self, text: &str) {
        self.part(b't', text.len());
        self.0.update(text.as_bytes());
    }

    /// Adds token ids.
    pub fn tokens(&mut self, tokens: &[u32]) {
        self.part(b'u', tokens.len());
        tokens.iter().for_each(|t| self.0.update(t.to_le_bytes()));
    }

    /// Adds numbers, bit by bit: 0 and −0 differ.
    pub fn numbers(&mut self, numbers: &[f32]) {
        self.part(b'f', numbers.len());
        numbers.iter().for_each(|x| self.0.update(x.to_le_bytes()));
    }

    /// Adds all that a reader gives, a piece at a time.
    ///
    /// # Errors
    /// The reader's own.
    pub fn content(&mut self, reader: &mut impl Read) -> io::Result<()> {
        // The length is known at the end only, so the digest of the content is the part.
        let (mut content, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match reader.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => content.update(&piece[..count]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let digest = content.finalize();
        self.part(b'c', digest.len());
        self.0.update(digest);
        Ok(())
    }

    /// 64 hexadecimal digits.
    pub fn finish(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn part(&mut self, kind: u8, length: usize) {
        self.0.update([kind]);
        self.0.update((length as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(build: impl FnOnce(&mut Fingerprint)) -> String {
        let mut fingerprint = Fingerprint::new("test");
        build(&mut fingerprint);
        fingerprint.finish()
    }

    #[test]
    fn equal_parts_agree_and_others_do_not() {
        let base = of(|f| f.tokens(&[1, 2]));
        assert_eq!(base, of(|f| f.tokens(&[1, 2])));
        assert_eq!(base.len(), 64);
        let others = [
            of(|f| f.tokens(&[1, 3])),
            of(|f| f.tokens(&[2, 1])),
            of(|f| {
                f.tokens(&[1]);
                f.tokens(&[2]);
            }),
            of(|f| f.numbers(&[f32::from_bits(1), f32::from_bits(2)])),
            of(|_| ()),
            Fingerprint::new("other").finish(),
        ];
        assert!(others.iter().all(|other| *other != base));
        let content = |bytes: &[u8]| of(|f| f.content(&mut &bytes[..]).unwrap());
        assert_eq!(content(&[7; 3 << 20]), content(&[7; 3 << 20]));
        assert_ne!(content(b"ab"), content(b"ac"));
        assert_ne!(content(b"ab"), of(|f| f.text("ab")));
        assert_ne!(of(|f| f.text("ab")), of(|f| f.text("a")));
    }
}
