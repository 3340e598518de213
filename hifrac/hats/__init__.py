"""Catalogues in HATS, partition by partition, by LSDB on Dask: on a laptop or a cluster (extra ``hats``)."""

from hifrac.hats._catalog import predict_catalog
from hifrac.hats._cluster import local_cluster
from hifrac.hats._partition import predict_partition, result_meta

__all__ = ["local_cluster", "predict_catalog", "predict_partition", "result_meta"]
