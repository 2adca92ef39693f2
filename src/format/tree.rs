//! The Merkle tree over a journal's links (RFC 6962, 2.1), as far as one needs it to go on:
//! the roots of its whole subtrees. Leaf n is line n's link (interfaces.md 10). Pure.

use crate::format::ids::Sha256;

/// The roots of the whole subtrees that all leaves so far make, the largest first: one for
/// each bit of the number of leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Sha256>,
}

impl Frontier {
    /// The frontier of a tree of `size` leaves; none where the number of roots is not that of
    /// its whole subtrees.
    pub fn resume(size: u64, nodes: Vec<Sha256>) -> Option<Self> {
        (nodes.len() == size.count_ones() as usize).then_some(Self { size, nodes })
    }

    /// How many leaves it has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its roots, the largest subtree's first.
    pub fn nodes(&self) -> &[Sha256] {
        &self.nodes
    }

    /// Adds the next line's link.
    pub fn push(&mut self, link: Sha256) {
        let mut root = hash(0, &link.0, &[]);
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                root = hash(1, &left.0, &root.0);
            }
        }
        self.nodes.push(root);
        self.size += 1;
    }

    /// The tree's root; that of no leaves is the hash of nothing.
    pub fn root(&self) -> Sha256 {
        let mut nodes = self.nodes.iter().rev().copied();
        let Some(last) = nodes.next() else {
            return Sha256::of(&[]);
        };
        nodes.fold(last, |right, left| hash(1, &left.0, &right.0))
    }
}

fn hash(prefix: u8, left: &[u8], right: &[u8]) -> Sha256 {
    let mut bytes = [0; 65];
    bytes[0] = prefix;
    bytes[1..=left.len()].copy_from_slice(left);
    bytes[1 + left.len()..][..right.len()].copy_from_slice(right);
    Sha256::of(&bytes[..1 + left.len() + right.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RFC 6962 defines it, by halves.
    fn root(leaves: &[Sha256]) -> Sha256 {
        match leaves {
            [] => Sha256::of(&[]),
            [one] => hash(0, &one.0, &[]),
            _ => {
                let half = leaves.len().next_power_of_two() / 2;
                hash(1, &root(&leaves[..half]).0, &root(&leaves[half..]).0)
            }
        }
    }

    #[test]
    fn it_is_the_tree_of_the_rfc_at_every_size() {
        let leaves: Vec<Sha256> = (0..70u8).map(|leaf| Sha256::of(&[leaf])).collect();
        let mut frontier = Frontier::default();
        for size in 0..leaves.len() {
            assert_eq!(frontier.root(), root(&leaves[..size]), "{size}");
            let again = Frontier::resume(frontier.size(), frontier.nodes().to_vec());
            assert_eq!(again.as_ref(), Some(&frontier));
            frontier.push(leaves[size]);
        }
        assert_eq!(Frontier::resume(3, vec![leaves[0]]), None);
    }

    #[test]
    fn the_empty_tree_is_that_of_the_rfc() {
        assert_eq!(
            Frontier::default().root().to_string(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
