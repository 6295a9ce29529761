"""Plotly figures. Pure: data in, figure out; `draw` puts one on the page."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from streamlit.elements.lib.streamlit_plotly_theme import GRAY_90

from engine.shares import percent
from spice_explorer.palette import CLUSTERS, NOBODY, cluster_colour, cluster_colours, faded

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

    from spice_explorer.present.reliability import Confusion, Curve

Curves = dict[str, tuple[list[int], list[float]]]
CONFIG = {"displayModeBar": False, "scrollZoom": False}
# More clusters than this are not named one by one on an axis.
# One hue of rising opacity reads on light and dark alike.
DENSITY = [[0, faded(CLUSTERS[0], 0.26)], [1, faded(CLUSTERS[0], 1)]]
MOST_TICKS = 30
LONGEST_TICK = 16
# A heat map with more cells than this has no numbers in them.
MOST_TEXTS = 250


def draw(figure: go.Figure, key: str, alt: str) -> None:
    st.plotly_chart(figure, key=key, config=CONFIG, alt=alt)


def _figure(height: int, x: str, y: str) -> go.Figure:
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 12, "b": 8},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "title": None},
        hoverlabel={"namelength": -1},
        bargap=0.18,
    )
    figure.update_xaxes(title=x, automargin=True)
    figure.update_yaxes(title=y, automargin=True, rangemode="tozero")
    return figure


def losses(curves: Curves, steps: int) -> go.Figure:
    """Losses over the steps of a stage; the axis shows the whole stage."""
    import plotly.graph_objects as go

    figure = _figure(210, "step", "")
    for index, (name, (x, y)) in enumerate(curves.items()):
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                name=name,
                mode="lines+markers" if len(x) < 2 else "lines",
                line={"color": CLUSTERS[index], "width": 2},
                hovertemplate="step %{x}: %{y:.4f}<extra>" + name + "</extra>",
            )
        )
    figure.update_layout(showlegend=len(curves) > 1)
    figure.update_xaxes(range=[0, 1.02 * max(1, steps)])
    figure.update_yaxes(rangemode="normal")
    return figure


def cluster_sizes(sizes: Sequence[int], reliable: Sequence[int] | None) -> go.Figure:
    """Images of each cluster; where they have been judged, the reliable ones in full colour."""
    clusters = np.arange(len(sizes))
    colours = cluster_colours(len(sizes))
    figure = _figure(250, "cluster", "images")
    if reliable is None:
        _bar(figure, clusters, np.asarray(sizes), "images", colours)
    else:
        rest = np.asarray(sizes) - np.asarray(reliable)
        _bar(figure, clusters, np.asarray(reliable), "reliable", colours)
        _bar(figure, clusters, rest, "rejected", [faded(one, 0.3) for one in colours])
    figure.update_layout(barmode="stack", showlegend=False)
    return _cluster_axis(figure, len(sizes))


def _bar(figure: go.Figure, x: np.ndarray, y: np.ndarray, name: str, colours: list[str] | str) -> None:
    import plotly.graph_objects as go

    template = "cluster %{x}: %{y} " + name + "<extra></extra>"
    figure.add_trace(go.Bar(x=x, y=y, name=name, marker_color=colours, marker_line_width=0, hovertemplate=template))


def _cluster_axis(figure: go.Figure, clusters: int) -> go.Figure:
    if clusters <= MOST_TICKS:
        figure.update_xaxes(tickmode="array", tickvals=list(range(clusters)))
    return figure


def _shares(purity: float, coverage: float) -> str:
    return f"purity {percent(purity)}, coverage {percent(coverage)}"


def purity_coverage(
    curve: Curve, now: tuple[float | None, float | None], own: tuple[float | None, float | None]
) -> go.Figure:
    """Purity over coverage; the points are (coverage, purity) now and with the run's thresholds."""
    import plotly.graph_objects as go

    figure = _figure(280, "coverage: share of correct labels that are reliable", "purity")
    figure.add_trace(
        go.Scatter(
            x=curve.coverage,
            y=curve.purity,
            text=[
                f"agreement ≥ {agreement:.3f}<br>{_shares(purity, coverage)}"
                for agreement, purity, coverage in zip(curve.agreement, curve.purity, curve.coverage, strict=True)
            ],
            mode="lines+markers",
            line={"color": CLUSTERS[0], "width": 2},
            marker={"size": 4},
            showlegend=False,
            hovertemplate="%{text}<extra></extra>",
        )
    )
    marks = (("the run", own, "circle-open", NOBODY), ("now", now, "circle", CLUSTERS[1]))
    for name, (x, y), symbol, colour in marks:
        if x is None or y is None:
            continue
        figure.add_trace(
            go.Scatter(
                x=[x],
                y=[y],
                name=name,
                mode="markers",
                marker={"symbol": symbol, "size": 13, "color": colour, "line": {"width": 2}},
                hovertemplate=f"{_shares(y, x)}<extra>{name}</extra>",
            )
        )
    # Plotly writes the shares on the axes its own way.
    # Around a single point axes go from −1 to 1: no share is there. A mark at 0 or 1 needs some room.
    shares = {"clipmin": -0.05, "clipmax": 1.05}
    figure.update_xaxes(tickformat=".0%", rangemode="normal", autorangeoptions=shares)
    # Purity differs by a few points; from zero all curves would look flat.
    figure.update_yaxes(tickformat=".1~%", rangemode="normal", autorangeoptions=shares)
    return figure


def confusion(found: Confusion) -> go.Figure:
    """Clusters × true classes, darker the greater a class's share of its cluster."""
    import plotly.graph_objects as go

    rows, columns = [str(one) for one in found.clusters.tolist()], list(range(len(found.classes)))
    figure = _figure(max(280, 90 + 13 * len(rows)), "true class", "cluster")
    share = found.counts / np.maximum(found.counts.sum(1, keepdims=True), 1)
    figure.add_trace(
        go.Heatmap(
            x=columns,
            y=rows,
            z=np.where(found.counts > 0, share, np.nan),
            customdata=found.counts,
            hovertext=[[html.escape(name) for name in found.classes]] * len(rows),
            colorscale=DENSITY,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            showscale=False,
            hovertemplate="cluster %{y}, class %{hovertext}: %{customdata} images<extra></extra>",
        )
    )
    if found.counts.size <= MOST_TEXTS:
        # White on full cells; on pale ones, which let the page through, what stands out most from it,
        # light or dark. The grey of other texts in figures is too near to them.
        _numbers(figure, found.counts, share > 0.5, rows, "white")
        _numbers(figure, found.counts, share <= 0.5, rows, GRAY_90)
    figure.update_xaxes(showgrid=False, tickvals=columns, ticktext=[_short(name) for name in found.classes])
    figure.update_yaxes(
        showgrid=False, type="category", categoryorder="array", categoryarray=rows, autorange="reversed"
    )
    return figure


def _numbers(figure: go.Figure, counts: np.ndarray, where: np.ndarray, rows: list[str], colour: str) -> None:
    import plotly.graph_objects as go

    row, column = np.nonzero(where & (counts > 0))
    figure.add_trace(
        go.Scatter(
            x=column,
            y=[rows[one] for one in row],
            text=counts[row, column].astype(str),
            mode="text",
            textfont={"size": 11, "color": colour},
            hoverinfo="skip",
            showlegend=False,
        )
    )


def _short(name: str) -> str:
    """An axis title with Plotly markup removed."""
    return html.escape(name if len(name) <= LONGEST_TICK else name[: LONGEST_TICK - 1] + "…")


def class_balance(table: pd.DataFrame) -> go.Figure:
    """Images of each true class."""
    import plotly.graph_objects as go

    figure = _figure(240, "", "images")
    figure.add_trace(
        go.Bar(
            x=table["class"].astype(str),
            y=table["images"],
            marker_color=NOBODY,
            hovertemplate="%{x}: %{y} images<extra></extra>",
        )
    )
    figure.update_xaxes(type="category")
    return figure


def similarities(cosines: np.ndarray, clusters: Sequence[str]) -> go.Figure:
    """Cosines between the prototypes of the clusters with these names, as a heat map."""
    import plotly.graph_objects as go

    count = len(cosines)
    figure = _figure(min(460, 200 + 26 * count), "cluster", "cluster")
    names = [html.escape(name) for name in clusters]
    figure.add_trace(
        go.Heatmap(
            x=names,
            y=names,
            z=np.where(np.eye(count, dtype=bool), np.nan, cosines),
            colorscale=DENSITY,
            xgap=1,
            ygap=1,
            colorbar={"title": "cosine", "thickness": 12},
            hovertemplate="clusters %{x} and %{y}: %{z:.2f}<extra></extra>",
        )
    )
    figure.update_xaxes(showgrid=False, type="category", constrain="domain")
    figure.update_yaxes(showgrid=False, type="category", autorange="reversed", scaleanchor="x", constrain="domain")
    return figure


def over_rounds(rounds: Sequence[int], values: np.ndarray, name: str, cluster: int, decimals: int = 0) -> go.Figure:
    """One number of a cluster over the rounds of stage 2, in the cluster's colour."""
    import plotly.graph_objects as go

    figure = _figure(190, "round", name)
    figure.add_trace(
        go.Scatter(
            x=list(rounds),
            y=values,
            mode="lines+markers",
            line={"color": cluster_colour(cluster), "width": 2},
            hovertemplate=f"round %{{x}}: %{{y:,.{decimals}f}}<extra></extra>",
        )
    )
    figure.update_yaxes(rangemode="normal" if decimals else "tozero")
    return figure


def head_losses(losses: np.ndarray, chosen: int) -> go.Figure:
    """Final loss of each head; the chosen one stands out."""
    import plotly.graph_objects as go

    figure = _figure(210, "head", "pseudo-label loss")
    colours = [CLUSTERS[0] if head == chosen else NOBODY for head in range(len(losses))]
    figure.add_trace(
        go.Scatter(
            x=list(range(len(losses))),
            y=losses,
            mode="markers",
            marker={"color": colours, "size": 11},
            hovertemplate="head %{x}: %{y:.4f}<extra></extra>",
        )
    )
    figure.update_yaxes(rangemode="normal")
    figure.update_xaxes(dtick=1 if len(losses) <= MOST_TICKS else None)
    return figure
