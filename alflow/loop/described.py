"""A site as a simulation sees it: pools of workers, what they wait for, which tasks they run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from alflow.config.times import Distribution, PoolTimes, Times
from alflow.core.errors import SettingsError
from alflow.execution.sites import EVERY_OTHER_KIND, LARGER_SUFFIX, Site
from alflow.loop.machine import Draw, PoolModel
from alflow.loop.simulated import draw


@dataclass(frozen=True, slots=True)
class SiteModel:
    """A site that may not exist yet.

    Attributes:
        name: Its name.
        pools: Its pools.
        routes: Label of the pool by kind of task; `*` stands for all other kinds.
    """

    name: str
    pools: tuple[PoolModel, ...]
    routes: Mapping[str, str]

    def pool_of(self, kind: str) -> PoolModel:
        """The pool that runs a kind of tasks.

        Raises:
            SettingsError: If none does.
        """
        label = self.routes.get(kind, self.routes.get(EVERY_OTHER_KIND))
        if label is None:
            raise SettingsError(
                f"site {self.name!r} has no pool for tasks of kind {kind!r}",
                next_step=f"name {kind!r} or {EVERY_OTHER_KIND!r} in `tasks` of one of its pools",
            )
        return next(one for one in self.pools if one.label == label)


def described(times: Times) -> SiteModel:
    """The site that a file of times describes.

    Raises:
        SettingsError: If a pool does not say what it runs, or how many workers it has.
    """
    routes: dict[str, str] = {}
    for label, one in times.pools.items():
        if one.tasks is None or one.workers is None:
            raise SettingsError(
                f"pool {label!r} of the file of times has no `tasks` or no `workers`",
                next_step="write both for each pool, or name a site by --site",
            )
        for kind in one.tasks:
            if kind in routes:
                raise SettingsError(
                    f"tasks of kind {kind!r} are in pool {routes[kind]!r} and in {label!r}"
                )
            routes[kind] = label
    pools = [_pool(label, one.workers or 1, 1, one) for label, one in times.pools.items()]
    return SiteModel("described", tuple(pools), routes)


def of_site(site: Site, times: Times) -> SiteModel:
    """A site by its file, with what a file of times says about its pools.

    Raises:
        SettingsError: If that file is about a pool which the site does not have.
    """
    labels = [pool.label for pool in site.distinct_pools()]
    for label in times.pools:
        if label not in labels:
            raise SettingsError(
                f"the file of times is about a pool {label!r}, which site {site.name!r} does not "
                f"have; its pools: {', '.join(labels)}"
            )
    pools = [
        _pool(pool.label, pool.workers, pool.threads, times.pools.get(pool.label))
        for pool in site.distinct_pools()
    ]
    routes = {
        kind: pool.label
        for kind, pool in site.pools.items()
        if not kind.endswith(LARGER_SUFFIX)
    }
    for label, one in times.pools.items():
        routes |= dict.fromkeys(one.tasks or (), label)
    return SiteModel(site.name, tuple(pools), routes)


def _pool(label: str, workers: int, threads: int, said: PoolTimes | None) -> PoolModel:
    said = said or PoolTimes()
    return PoolModel(
        label,
        said.workers or workers,
        said.threads or threads,
        said.blocks,
        _drawn(said.queue_s),
        _drawn(said.start_s),
        said.idle_s,
        said.walltime_s,
    )


def _drawn(source: Distribution) -> Draw:
    return partial(draw, source)
