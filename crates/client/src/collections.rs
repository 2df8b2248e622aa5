//! Collections and aliases.

use std::collections::BTreeMap;

use pando_model::{
    CollectionInfo, CollectionName, CollectionSchema, Consistency, Quantization, TreeId, VectorName,
};
use pando_proto::v1::{self, collections_client::CollectionsClient};
use pando_proto::{DecodeError, GRPC_MESSAGE_BYTES_MAX, decode_collection, encode_quantizations};
use tonic::transport::Channel;

use crate::builder::Pando;
use crate::call::Safety;
use crate::error::ClientError;
use crate::points::{Written, new_request_id};

/// A collection was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// Where the write stands in the log.
    pub log_index: u64,
    /// The collection's tree.
    pub tree: TreeId,
}

fn client(channel: Channel) -> CollectionsClient<Channel> {
    CollectionsClient::new(channel).max_decoding_message_size(GRPC_MESSAGE_BYTES_MAX)
}

impl Pando {
    /// Creates an empty collection.
    ///
    /// # Errors
    /// `InvalidInput`, `CollectionExists`, `NameIsAlias`, `CatalogueFull`; see [`ClientError::kind`].
    pub async fn create_collection(
        &self,
        name: &CollectionName,
        schema: CollectionSchema,
    ) -> Result<Created, ClientError> {
        let request = v1::CreateCollectionRequest {
            name: name.as_str().to_owned(),
            schema: Some(schema.into()),
            request_id: new_request_id(),
        };
        let send = |channel, request| async move { client(channel).create(request).await };
        let reply = self.call(Safety::Write, request, send).await?;
        Ok(Created {
            log_index: reply.log_index,
            tree: TreeId(reply.tree_id),
        })
    }

    /// All collections, by name.
    ///
    /// # Errors
    /// Where the consistency cannot be had in time; see [`ClientError::kind`].
    pub async fn list_collections(
        &self,
        consistency: Consistency,
    ) -> Result<Vec<CollectionInfo>, ClientError> {
        let request = v1::ListCollectionsRequest {
            consistency: Some(consistency.into()),
        };
        let send = |channel, request| async move { client(channel).list(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        let infos = reply.collections.into_iter().map(CollectionInfo::try_from);
        Ok(infos.collect::<Result<_, _>>()?)
    }

    /// One collection, by name or alias.
    ///
    /// # Errors
    /// `CollectionNotFound`; see [`ClientError::kind`].
    pub async fn describe_collection(
        &self,
        name: &CollectionName,
        consistency: Consistency,
    ) -> Result<CollectionInfo, ClientError> {
        let request = v1::DescribeCollectionRequest {
            name: name.as_str().to_owned(),
            consistency: Some(consistency.into()),
        };
        let send = |channel, request| async move { client(channel).describe(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        let info = reply
            .collection
            .ok_or_else(|| DecodeError::missing("collection"))?;
        Ok(info.try_into()?)
    }

    /// Changes how the index keeps vectors of a collection, by their names. It returns when the change is committed;
    /// each node then indexes anew in the background, and answers searches meanwhile.
    ///
    /// # Errors
    /// `CollectionNotFound`, `InvalidInput`; see [`ClientError::kind`].
    pub async fn quantize(
        &self,
        name: &CollectionName,
        vectors: &BTreeMap<VectorName, Quantization>,
    ) -> Result<Written, ClientError> {
        let request = v1::UpdateCollectionRequest {
            name: name.as_str().to_owned(),
            quantization: encode_quantizations(vectors),
            request_id: new_request_id(),
        };
        let send = |channel, request| async move { client(channel).update(request).await };
        let reply = self.call(Safety::Write, request, send).await?;
        Ok(Written::at(reply.log_index))
    }

    /// Drops a collection, its points and its aliases.
    ///
    /// # Errors
    /// `CollectionNotFound`, `NameIsAlias`; see [`ClientError::kind`].
    pub async fn drop_collection(&self, name: &CollectionName) -> Result<Written, ClientError> {
        let request = v1::DropCollectionRequest {
            name: name.as_str().to_owned(),
            request_id: new_request_id(),
        };
        let send = |channel, request| async move { client(channel).drop(request).await };
        let reply = self.call(Safety::Write, request, send).await?;
        Ok(Written::at(reply.log_index))
    }

    /// Points an alias at a collection, moving it if it exists.
    ///
    /// # Errors
    /// `CollectionNotFound`, `CollectionExists`, `CatalogueFull`; see [`ClientError::kind`].
    pub async fn set_alias(
        &self,
        alias: &CollectionName,
        collection: &CollectionName,
    ) -> Result<Written, ClientError> {
        let request = v1::SetAliasRequest {
            alias: alias.as_str().to_owned(),
            collection: collection.as_str().to_owned(),
            request_id: new_request_id(),
        };
        let send = |channel, request| async move { client(channel).set_alias(request).await };
        let reply = self.call(Safety::Write, request, send).await?;
        Ok(Written::at(reply.log_index))
    }

    /// Drops an alias.
    ///
    /// # Errors
    /// `AliasNotFound`; see [`ClientError::kind`].
    pub async fn drop_alias(&self, alias: &CollectionName) -> Result<Written, ClientError> {
        let request = v1::DropAliasRequest {
            alias: alias.as_str().to_owned(),
            request_id: new_request_id(),
        };
        let send = |channel, request| async move { client(channel).drop_alias(request).await };
        let reply = self.call(Safety::Write, request, send).await?;
        Ok(Written::at(reply.log_index))
    }

    /// All aliases and the collections they stand for, by alias.
    ///
    /// # Errors
    /// Where the consistency cannot be had in time; see [`ClientError::kind`].
    pub async fn list_aliases(
        &self,
        consistency: Consistency,
    ) -> Result<Vec<(CollectionName, CollectionName)>, ClientError> {
        let request = v1::ListAliasesRequest {
            consistency: Some(consistency.into()),
        };
        let send = |channel, request| async move { client(channel).list_aliases(request).await };
        let reply = self.call(Safety::Read, request, send).await?;
        let alias = |a: v1::Alias| {
            let alias = decode_collection("alias", &a.alias)?;
            Ok((alias, decode_collection("collection", &a.collection)?))
        };
        let aliases = reply.aliases.into_iter().map(alias);
        Ok(aliases.collect::<Result<_, DecodeError>>()?)
    }
}
