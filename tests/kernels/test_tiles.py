"""How rows are cut into tiles: all classes once, aligned, and no more than fit."""

import itertools

import pytest

from jaxtemp.kernels._tiles import blocks, choose, split
from tests.kernels import mosaic_gpu

ROWS = (1, 3, 4, 9, 128, 129, 4096)
CLASSES = (1, 2, 3, 7, 8, 100, 127, 128, 129, 1000, 2048, 2056, 8200, 32_000, 50_257)
LONG = (131_072, 262_144, 1_000_003)


def starts(tiles, classes):
    """Where the tiles of a row begin, as the kernels compute it."""
    count = tiles.splits * tiles.steps * tiles.warpgroups
    latest = classes - tiles.columns
    return [min(k * tiles.columns, latest) for k in range(count)]


@pytest.mark.parametrize("classes", CLASSES + LONG)
@pytest.mark.parametrize("itemsize", [2, 4])
def test_tiles_cover_every_class_and_nothing_else(classes, itemsize):
    for rows in ROWS:
        for arrays in (1, 2):
            tiles = choose(rows, classes, itemsize, arrays=arrays)
            if tiles is None:
                continue
            assert tiles.rows * tiles.lanes % 128 == 0
            assert tiles.rows <= rows
            assert tiles.columns % (tiles.lanes * tiles.vector) == 0
            begin = starts(tiles, classes)
            assert begin[0] == 0
            assert begin[-1] + tiles.columns == classes
            steps = itertools.pairwise(begin)
            assert all(a <= b <= a + tiles.columns for a, b in steps)
            assert tiles.exact == (len(begin) * tiles.columns == classes)


@pytest.mark.parametrize("classes", CLASSES + LONG)
@pytest.mark.parametrize("itemsize", [2, 4])
def test_every_load_is_aligned_and_at_most_sixteen_bytes(classes, itemsize):
    for rows in ROWS:
        tiles = choose(rows, classes, itemsize)
        if tiles is None:
            continue
        assert tiles.vector * itemsize <= 16
        # Rows follow each other without a gap, so their length is a start as well.
        for place in (classes, *starts(tiles, classes)):
            assert place % tiles.vector == 0


@pytest.mark.parametrize("classes", CLASSES + LONG)
@pytest.mark.parametrize(("once", "most"), [(False, 64), (True, 16)])
def test_a_thread_holds_what_its_registers_can(classes, once, most):
    for arrays in (1, 2):
        tiles = choose(4096, classes, 4, arrays=arrays, once=once)
        assert tiles is not None
        at_once = tiles.steps if tiles.held else 1
        each = at_once * tiles.columns * tiles.rows // 128
        assert arrays * each <= most + 2 * arrays * tiles.vector


@pytest.mark.parametrize(
    ("classes", "arrays", "held"),
    [
        (1024, 1, True),
        (32_000, 1, True),
        (32_768, 1, True),
        (32_769, 1, False),
        (16_384, 2, True),
        (16_385, 2, False),
        (262_144, 1, False),
    ],
)
def test_rows_are_read_once_as_long_as_four_warpgroups_hold_them(classes, arrays, held):
    tiles = choose(512, classes, 2, arrays=arrays)
    assert tiles is not None
    assert tiles.held == held


@mosaic_gpu.needed
@pytest.mark.parametrize("classes", [16_384, 32_768, 50_257, 262_144])
@pytest.mark.parametrize("once", [False, True])
def test_warpgroups_of_a_block_reduce_within_their_warps(classes, once):
    """Between warps they would use the same memory, with nothing to keep them apart."""
    tiles = choose(512, classes, 4, once=once)
    assert tiles is not None
    assert tiles.warpgroups > 1
    assert tiles.rows == 1
    warps = tiles.layout().reduce(1).to_mgpu().warp_dims
    assert all(isinstance(dim, int) for dim in warps)  # none holds what another does


@pytest.mark.parametrize("classes", [131_072, 151_936, 1_000_003, 2**20])
@pytest.mark.parametrize("arrays", [1, 2])
@pytest.mark.parametrize("rows", [1, 3, 8, 64])
def test_blocks_share_few_long_rows(rows, classes, arrays):
    tiles = choose(rows, classes, 4, arrays=arrays, once=True)
    assert tiles is not None
    shared = split(tiles, rows, classes, multiprocessors=132)
    begin = starts(shared, classes)
    assert begin[-1] + shared.columns == classes
    steps = itertools.pairwise(begin)
    assert all(a <= b <= a + shared.columns for a, b in steps)
    assert shared.exact == (len(begin) * shared.columns == classes)
    # Two blocks for each multiprocessor, as far as a tile for each goes.
    assert shared.splits > 1
    assert 132 < rows * shared.splits <= 264 or shared.steps == 1


@pytest.mark.parametrize(("rows", "classes"), [(67, 2**20), (8, 50_257), (1, 32_768)])
def test_a_row_has_one_block_where_rows_fill_the_chip_or_are_short(rows, classes):
    tiles = choose(rows, classes, 4, once=True)
    assert tiles is not None
    assert split(tiles, rows, classes, multiprocessors=132) == tiles


@pytest.mark.parametrize("arrays", [1, 2])
def test_rows_that_must_be_whole_are_held_or_have_no_tiles(arrays):
    for rows, classes in itertools.product(ROWS, CLASSES + LONG):
        free = choose(rows, classes, 4, arrays=arrays)
        whole = choose(rows, classes, 4, arrays=arrays, whole=True)
        assert whole == (free if free and free.held else None)


def test_without_an_exchange_a_row_has_one_warpgroup():
    tiles = choose(512, 32_000, 4, several_warpgroups=False)
    assert tiles is not None
    assert tiles.warpgroups == 1
    assert not tiles.held


@pytest.mark.parametrize(("rows", "classes"), [(3, 7), (31, 7), (3, 127), (1, 1)])
def test_rows_that_fill_no_tile_have_none(rows, classes):
    assert choose(rows, classes, 4) is None


def test_one_row_has_a_tile_once_every_thread_has_a_class():
    assert choose(1, 128, 4) is not None


@pytest.mark.parametrize("classes", [128, 129, 1000, 50_257, 131_072])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_blocks_are_aligned_and_as_wide_as_asked(classes, itemsize):
    for rows in ROWS:
        tiles = blocks(rows, classes, itemsize, 128)
        if tiles is None:
            assert rows < 8
            continue
        assert tiles.columns == 128
        assert tiles.rows <= rows
        assert tiles.rows * tiles.lanes % 128 == 0
        assert tiles.lanes * tiles.vector <= 128
        assert tiles.vector * itemsize <= 16
        begin = starts(tiles, classes)
        assert begin[-1] + 128 == classes
        assert all(place % tiles.vector == 0 for place in (classes, *begin))
        assert tiles.exact == (classes % 128 == 0)


def test_many_short_rows_share_a_block_while_blocks_abound():
    many, few = choose(10**6, 8, 4), choose(4096, 8, 4)
    assert many is not None
    assert few is not None
    assert (many.rows, few.rows) == (256, 64)
