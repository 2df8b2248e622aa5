//! Generated wire types and the conversions between them and the model; nothing else.
