"""Defect-GAN that paints from exemplars: what a restoration takes away is painted again, elsewhere.

    restore  n^ = compose(d, G(d, normal))       code  c = E(d, n^)       0 where nothing went away
    paint    d^ = compose(n, G(n, y, T c))       T: in another pose, where n looks as n^ did
    again    d~ = compose(n^, G(n^, y, c))       back  n~ = compose(d^, G(d^, normal))

    L_D  as of the robust form
    L_G  adv, cls_f, sd_con of d^ and n^, as there; rec |n - n~|_1, sd_cyc |m(d^) - m(n~)|_1
         + again (|d - d~|_1 where d changed, and |d - d~|_1)       a code gives its defect back
         + follow (|T g - g(d^)|_1 + |g - g(d~)|_1)                  g: what changed, and T moves it
         + drawn (the same of drawn defects on n, of which all is known)

With noise alone all that a painted defect looks like comes from an adversary with a handful of real
ones. Here the paper's cycle of a defect, d -> n^ -> d~, is asked for with what it takes to be
possible, a code of the defect; and drawn defects (``data/drawn.py``) teach restoring, encoding and
painting without any adversary. A trained model keeps the codes of real defects; noise chooses among
them, and their pose and place.

Sources: as in ``networks/exemplars.py`` and ``data/drawn.py``.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from defectgan import losses
from defectgan.batch import Batch
from defectgan.methods.base import CRITIC, Networks, Painting, Player, Terms
from defectgan.methods.draws import Draws
from defectgan.methods.layered import covered, paint
from defectgan.methods.robust import Robust
from defectgan.methods.robust import Settings as RobustSettings
from defectgan.methods.robust import Shape as RobustShape
from defectgan.networks.compose import Painted
from defectgan.networks.detail import band, finer_by
from defectgan.networks.exemplars import (
    CELL,
    Bank,
    ExemplarGenerator,
    Exemplars,
    Moves,
    cells,
    changed,
    moved,
    place,
    posed,
)
from defectgan.networks.generator import Layer, at

BANK = "exemplars"
# Exemplars in a pose of which one is painted, that which fits in best; noise values that choose
# them, and the place.
TRIES = 16
CHOICES = 2 * TRIES + 1
# A defect takes this share of one cell at least.
LEAST = 0.1
# Restorations at a time where the bank is filled.
AT_ONCE = 16
SOFT = 0.15


class Shape(RobustShape):
    """What its networks are built from."""

    name: Literal["exemplar"] = "exemplar"  # type: ignore[assignment]
    control: Literal["spade"] = "spade"
    layered: Literal[True] = True


class Settings(Shape, RobustSettings):
    """And the weights of its terms, in the symbols above."""

    adv: float = Field(0.1, ge=0)
    cls_f: float = Field(0.5, ge=0)
    sd_con: float = Field(1.0, ge=0)
    again: float = Field(5.0, ge=0)
    follow: float = Field(2.0, ge=0)
    drawn: float = Field(1.0, ge=0)
    n_critic: int = Field(1, ge=1, description="critic steps for each generator step")


class Moved(NamedTuple):
    """What painting from exemplars takes: their codes [B, CODE, h, w] where they go, in which pose
    [B] and how far they came.
    """

    code: Tensor
    pose: Tensor
    moves: Moves


class Chosen(NamedTuple):
    """Which exemplar of the bank [B] is painted, in which pose [B], and how far it moves."""

    nth: Tensor
    pose: Tensor
    moves: Moves

    @property
    def origin(self) -> Tensor:
        """The same as one tensor [B, 4]."""
        return torch.stack([self.nth, self.pose, *self.moves], dim=1)

    @classmethod
    def of(cls, origin: Tensor) -> "Chosen":
        """What an ``origin`` [B, 4] says."""
        nth, pose, *moves = origin.unbind(1)
        return cls(nth, pose, Moves(*moves))


class Exemplar(Robust):
    """The form that ``quick`` and ``standard`` train."""

    Shape, Settings = Shape, Settings

    def networks(self) -> dict[str, nn.Module]:
        channels, classes, size = self.task[:3]
        generator = ExemplarGenerator(channels, classes, **self.sizes)
        critic, bank = super().networks()[CRITIC], Bank(channels, classes, size, self.task.poses)
        return {"generator": generator, CRITIC: critic, BANK: bank}

    def players(self) -> tuple[Player, ...]:
        critic, generator = super().players()
        return critic._replace(ahead=self._fakes), generator._replace(drawn=True)

    def _noise(self, generator: ExemplarGenerator, images: Tensor, draws: Draws) -> Tensor:
        """For images [., C, H, W] of one half of a batch."""
        return draws.noise(len(images), generator.noise_size(*images.shape[2:]), halves=1)

    def _moved(
        self, networks: Networks, exemplars: Exemplars, onto: Tensor, chance: Tensor
    ) -> Moved:
        """In a pose and at a place that ``chance`` [B, 2] says, on images [B, C, H, W]."""
        pose = cast(Bank, networks[BANK]).pose(chance[:, 0])
        turned = exemplars.posed(pose)
        moves = place(turned, cells(onto), chance[:, 1]).moves
        return Moved(moved(turned.code, moves), pose, moves)

    def _restored(
        self, generator: ExemplarGenerator, defect: Tensor, normal: Tensor, noise: Tensor
    ) -> tuple[Painted, Exemplars]:
        """Defects taken away, and what they are: no gradient goes from the code to that."""
        restored = paint(generator, defect, normal, noise)
        image, mask = restored.image.detach(), restored.mask.detach()
        return restored, Exemplars(generator.encoder(defect, image, mask), cells(image))

    def _fakes(
        self, networks: Networks, batches: Sequence[Batch], draws: Draws
    ) -> Sequence[Tensor]:
        """The fakes of several critic steps: painted ones, then restored ones, of each batch."""
        generator = cast(ExemplarGenerator, networks["generator"])
        made = []
        for batch in batches:
            label, normal = batch.target.chunk(2)
            noise = self._noise(generator, batch.normal, draws)
            restored, found = self._restored(generator, batch.defect, normal, noise)
            there = self._moved(
                networks, found, batch.normal, draws.uniform(len(label), 2, halves=1)
            )
            painted = paint(generator, batch.normal, label, noise, there.code)
            made.append(torch.cat([painted.image, restored.image]))
        return made

    def _generator(
        self, networks: Networks, batch: Batch, draws: Draws, _: None
    ) -> tuple[Tensor, Terms]:
        generator, s = cast(ExemplarGenerator, networks["generator"]), self.shape
        n, d, label = batch.normal, batch.defect, batch.target
        (y, normal), size = label.chunk(2), generator.noise_size(*batch.normal.shape[2:])
        restored, found = self._restored(generator, d, normal, self._noise(generator, d, draws))
        there = self._moved(networks, found, n, draws.uniform(len(n), 2, halves=1))
        # Nor from painting again: to take nothing away would make it easiest.
        images = torch.cat([n, restored.image.detach()])
        code = torch.cat([there.code, found.code])
        both = paint(generator, images, torch.cat([y, y]), draws.noise(len(images), size), code)
        (painted, again), (mask, _mask) = both.image.chunk(2), both.mask.chunk(2)
        back = paint(generator, painted, normal, self._noise(generator, n, draws))
        shown, masks = torch.cat([painted, restored.image]), torch.cat([mask, restored.mask])
        verdict = networks[CRITIC](draws.shown(shown), label)
        share = losses.probability(
            verdict.logits.detach(), label, multi_label=self.task.multi_label
        )
        gone = changed(d, restored.image).detach()
        moved_to = moved(posed(gone, there.pose), there.moves, cell=CELL)
        terms = {
            "adv": losses.wasserstein_generator(verdict.score),
            "cls_f": self.classification(verdict.logits, label),
            "rec": losses.reconstruction(n, back.image) / 2,
            "sd_cyc": losses.mask_cycle(mask, back.mask) / 2,
            "sd_con": losses.mask_sparsity(masks, share)
            + losses.mask_sparsity(back.mask, share[: len(n)]) / 2,
            "again": losses.within(d, again, gone) + losses.reconstruction(d, again),
            "follow": losses.mask_cycle(moved_to, _softly(n, painted))
            + losses.mask_cycle(gone, _softly(restored.image.detach(), again)),
        }
        total = torch.stack([getattr(s, name) * term for name, term in terms.items()]).sum()
        if s.drawn:
            learned, of_drawn = self.of_drawn(networks, batch, draws)
            total, terms = total + s.drawn * learned, terms | of_drawn
        total, terms = self.supervised(total, terms, masks, batch)
        return total, terms | covered(masks)

    def of_drawn(self, networks: Networks, batch: Batch, draws: Draws) -> tuple[Tensor, Terms]:
        """Drawn defects taken away, painted again, and painted on other images; of other good
        images, that there is nothing to take away.
        """
        generator, count = cast(ExemplarGenerator, networks["generator"]), len(batch.drawn) // 2
        n, others = batch.normal[:count], batch.normal.roll(-count, 0)[:count]
        (here, there), (truth, elsewhere) = batch.drawn.chunk(2), batch.drawn_truth.chunk(2)
        y, normal = (label[:count] for label in batch.target.chunk(2))
        noise = self._noise(generator, n, draws)
        taken, found = self._restored(generator, here, normal, noise)
        clean = paint(generator, others, normal, noise)
        pose = cast(Bank, networks[BANK]).pose(draws.uniform(count, halves=1))
        turned = [posed(part, pose) for part in (n.roll(-1, 0), found.code, there, elsewhere)]
        images, code = (
            torch.cat([taken.image.detach(), turned[0]]),
            torch.cat([found.code, turned[1]]),
        )
        made = paint(generator, images, torch.cat([y, y]), noise.repeat(2, 1), code)
        wanted, where = torch.cat([here, turned[2]]), torch.cat([truth, turned[3]])
        terms = {
            "drawn_rec": losses.within(n, taken.image, truth)
            + losses.reconstruction(n, taken.image)
            + losses.within(wanted, made.image, where)
            + losses.reconstruction(wanted, made.image),
            "drawn_mask": losses.mask_supervision(taken.mask, truth)
            + losses.mask_likelihood(taken.mask, truth)
            + losses.mask_supervision(made.mask, where)
            + losses.mask_likelihood(made.mask, where)
            + 2 * losses.mask_sparsity(clean.mask),
        }
        return 2 * terms["drawn_rec"] + terms["drawn_mask"] / 2, terms

    def noise_size(self, networks: Networks, height: int, width: int) -> int:
        return super().noise_size(networks, height, width) + CHOICES

    def paint(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Layer:
        return self.painting(networks, image, control, noise).layer

    def painting(
        self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor
    ) -> Painting:
        bank = cast(Bank, networks[BANK])
        chosen = self._chosen(networks, image, control, noise)
        code = moved(posed(bank.code[chosen.nth], chosen.pose), chosen.moves)
        # The code says where: asked for a class in a part alone, the network, which is trained with
        # maps that are the same all over, paints over all of that part.
        normal, defects = control[:, :1].amin((2, 3), True), control[:, 1:].amax((2, 3), True)
        asked = torch.cat([normal, defects], dim=1)
        layer: Layer = networks["generator"](image, asked, noise[:, :-CHOICES], code)
        return Painting(layer, chosen.origin if len(bank.tiles) else None)

    def detail(self, networks: Networks, origin: Tensor) -> Tensor:
        bank = cast(Bank, networks[BANK])
        nth, pose, moves = Chosen.of(origin)
        bands = bank.bands(nth)
        return moved(posed(bands, pose), moves, cell=bands.shape[2] // bank.code.shape[2])

    def _chosen(self, networks: Networks, image: Tensor, control: Tensor, noise: Tensor) -> Chosen:
        """Of ``TRIES`` exemplars, drawn with their poses, the one that fits in best somewhere in
        the region that the control map asks for.
        """
        bank = cast(Bank, networks[BANK])
        # From standard normal to uniform in [0, 1).
        chance = torch.special.ndtr(noise[:, -CHOICES:]).clamp(max=1 - 1e-6)
        label = control[:, 1:].amax((2, 3)).argmax(1) + 1
        nth = bank.draw(label[:, None], chance[:, :TRIES])
        pose = bank.pose(chance[:, TRIES:-1])
        onto = cells(image)
        region = (at(1 - control[:, :1], (onto.shape[2], onto.shape[3])) > 0.5).to(onto)
        turned = bank.exemplars(nth.flatten()).posed(pose.flatten())
        which, moves = place(
            turned, onto, chance[:, -1], tries=TRIES, within=region.expand_as(onto[:, :1])
        )
        nth, pose = (x.gather(1, which[:, None])[:, 0] for x in (nth, pose))
        return Chosen(nth, pose, moves)

    def settle(self, networks: Networks, images: Callable[[int, int], Tensor]) -> None:
        """Fill the bank with the real defects of each class."""
        generator, bank = cast(ExemplarGenerator, networks["generator"]), cast(Bank, networks[BANK])
        finer = finer_by(self.task.size)
        shown = [images(k, 1) for k in range(1, self.task.classes)]
        found = [self._exemplars(generator, seen) for seen in shown]
        # From where a restoration found nothing, nothing could be painted.
        whole = [each.code[:, -1].amax((1, 2)) > LEAST for each in found]
        bank.fill(
            [
                Exemplars(each.code[kept], each.ground[kept])
                for each, kept in zip(found, whole, strict=True)
            ]
        )
        if finer > 1:
            for k, (seen, kept) in enumerate(zip(shown, whole, strict=True), start=1):
                bank.keep(k, band(images(k, finer)[kept], seen[kept]))

    @torch.no_grad()
    def _exemplars(self, generator: ExemplarGenerator, defects: Tensor) -> Exemplars:
        """Of defects [E, C, H, W], some at a time."""
        normal = torch.eye(self.task.classes, device=defects.device)[:1]
        noise = defects.new_zeros(1, generator.noise_size(*defects.shape[2:]))
        parts = [
            self._restored(
                generator, part, normal.expand(len(part), -1), noise.expand(len(part), -1)
            )[1]
            for part in torch.split(defects, AT_ONCE)
        ]
        code, ground = (torch.cat(each) for each in zip(*parts, strict=True))
        return Exemplars(code, ground)


def _softly(before: Tensor, after: Tensor) -> Tensor:
    """What changed, [B, 1, H, W] in [0, 1), with a gradient everywhere."""
    return 1 - torch.exp(-(after - before).abs().amax(1, keepdim=True) / SOFT)
