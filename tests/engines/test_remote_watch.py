"""A model that is replaced while it is measured: noticed by its probe images or its version, and never by noise."""

from types import ModuleType

import numpy as np
import pytest

from robustmq_trt.core.errors import TargetChangedError


def test_a_changed_model_is_noticed_after_so_many_images_and_ends_all_further_work(
    v2: ModuleType, service, hasty, linear, noise
):
    with v2.served(service) as url:
        engine = hasty(url, watch_every=16)
        engine.infer(noise(8))
        service.score = lambda images: linear(images) * 1.01

        with pytest.raises(TargetChangedError, match="probe images moved by"):
            engine.infer(noise(8))
        with pytest.raises(TargetChangedError, match="Run the command again"):
            engine.infer(noise(1))

        engine.close()


def test_a_changed_model_is_noticed_by_a_check_between_two_cells(v2: ModuleType, service, hasty, linear, noise):
    with v2.served(service) as url:
        engine = hasty(url)
        engine.infer(noise(8))
        engine.verify()
        service.score = lambda images: linear(images) * 1.01
        engine.infer(noise(8))

        with pytest.raises(TargetChangedError):
            engine.verify()

        engine.close()


def test_a_model_that_gives_no_numbers_any_more_has_changed_too(v2: ModuleType, service, hasty, noise):
    with v2.served(service) as url:
        engine = hasty(url)
        service.score = lambda images: np.full((len(images), 5), np.nan)
        engine.infer(noise(1))

        with pytest.raises(TargetChangedError):
            engine.verify()

        engine.close()


def test_another_version_in_a_reply_is_a_change(v2: ModuleType, service, hasty, noise):
    with v2.served(service) as url:
        engine = hasty(url)
        service.version = "2"

        with pytest.raises(TargetChangedError, match="version '2' answered"):
            engine.infer(noise(1))
        with pytest.raises(TargetChangedError):
            engine.verify()

        engine.close()


def test_wandering_bits_are_no_change(v2: ModuleType, service, hasty, linear, noise):
    rng = np.random.default_rng(3)
    service.score = lambda images: linear(images) * (1 + rng.normal(0, 1e-6, (len(images), 5)))
    with v2.served(service) as url:
        engine = hasty(url, watch_every=1)
        for _ in range(20):
            engine.infer(noise(1))

        assert engine.provenance()["client"]["probe_checks"] == 20
        engine.close()


def test_nothing_is_asked_where_nothing_was_scored(v2: ModuleType, service, hasty):
    with v2.served(service) as url:
        engine = hasty(url)
        engine.verify()

        assert engine.provenance()["client"]["probe_checks"] == 0
        engine.close()
