//! A supernode's keyword index over the metadata of its children.
