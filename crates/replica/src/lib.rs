//! One replica's state: storage, tree and index behind apply, search, freeze, stage and install.
