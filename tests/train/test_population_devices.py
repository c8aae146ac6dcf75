"""Members spread over eight devices are those of one device, and no number travels between them."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import json, re
import jax, jax.numpy as jnp, numpy as np
from fnn import chain, layers, losses, optimizers
from fnn.train import copy, population
from fnn.train.population.members import mesh_of, placed

rng = np.random.default_rng(0)
examples = rng.normal(size=(64, 4)).astype(np.float32), rng.integers(0, 3, 64).astype(np.int32)
net = chain(hidden=layers.linear(8), act=layers.relu(), drop=layers.dropout(0.1), logits=layers.linear(3))
loss, optimizer = losses.softmax_cross_entropy(), optimizers.adam()
keys = jax.random.split(jax.random.key(0), 16)
rates = np.geomspace(1e-3, 1e-1, 16)
rates[5] = 3e38
members = population.init(net, optimizer, keys, examples[0], hyperparameters={"rate": rates})
spread = population.spread(members)

def fitted(members):
    reports = population.fit(
        net, loss, optimizer, members, examples, epochs=1, batch_size=8, steps_per_call=4,
        validation=examples, chunk=None,
    )
    return list(reports)[-1]

def distance(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.nanmax(np.abs(np.asarray(p, float) - np.asarray(q, float)))) for p, q in pairs)

one, eight = fitted(members), fitted(spread)
chunked = population.epoch(net, loss, optimizer, batch_size=8, steps=2, chunk=1)
by_one, _ = chunked(copy(members), examples)
by_eight, _ = chunked(spread, examples)
judge = population.evaluate(net, loss, batch_size=16)
judged = [judge(m.params, m.state, examples).loss[:5] for m in (one.members, eight.members)]
memory = np.zeros(1040, np.float32)
mine = memory[-memory.ctypes.data % 64 // 4 :][:1024]  # aligned so that a device could take it over
theirs = placed(mine, mesh_of(spread))
mine[:] = 1
program = population.epoch(net, loss, optimizer, batch_size=8, donate=False)
text = program.lower(eight.members, examples).compile().as_text()

def refusal(count):
    try:
        population.spread(jax.tree.map(lambda leaf: leaf[:count], members))
    except ValueError as error:
        return str(error)

print(json.dumps({
    "devices": len(jax.devices()),
    "spread over": len(eight.members.params["hidden"].w.sharding.device_set),
    "evaluation over": len(eight.evaluation.loss.sharding.device_set),
    "members": distance(one.members.params, eight.members.params),
    "losses": distance(one.evaluation.loss, eight.evaluation.loss),
    "infos": distance(one.info.loss, eight.info.loss),
    "chunked": distance(by_one.params, by_eight.params),
    "chunked over": len(by_eight.step.sharding.device_set),
    "steps": np.asarray(eight.members.step).tolist(),
    "steps of one device": np.asarray(one.members.step).tolist(),
    "collectives": re.findall(r"all-\\w+|reduce-scatter|collective-\\w+", text),
    "scans": text.count(" while("),
    "running": eight.running.tolist(),
    "judged": distance(*judged),
    "written to": float(jnp.abs(theirs).sum()),
    "refused": refusal(12),
    "fewer": len(population.spread(members, jax.devices()[:4]).step.sharding.device_set),
}))
"""


@pytest.fixture(scope="module")
def found():
    environment = dict(
        os.environ, XLA_FLAGS="--xla_force_host_platform_device_count=8", JAX_PLATFORMS="cpu"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_all_devices_have_members(found):
    assert found["devices"] == found["spread over"] == found["evaluation over"] == 8
    assert found["chunked over"] == 8
    assert found["fewer"] == 4


def test_the_members_are_those_of_one_device(found):
    for name in ("members", "losses", "infos", "chunked"):
        assert found[name] < 1e-5, name


def test_one_evaluation_serves_members_on_one_device_and_on_several(found):
    assert found["judged"] < 1e-6


def test_examples_that_their_owner_writes_to_stay_as_they_were(found):
    assert found["written to"] == 0


def test_no_number_travels(found):
    assert found["scans"]
    assert found["collectives"] == []


def test_a_member_stops_alone(found):
    assert found["running"] == [i != 5 for i in range(16)]
    assert found["steps"] == found["steps of one device"]
    assert found["steps"][5] < 8


def test_members_that_cannot_be_shared_out(found):
    assert "the 8 devices divide, got 12; make 16 members" in found["refused"]
    assert "jax.devices()[:6]" in found["refused"]
