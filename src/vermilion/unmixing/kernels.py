"""Loops over pixels that torch cannot fuse, in plain Python; numba compiles them where it is installed."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["add_one_by_one", "exchange"]


def exchange(
    G: Any,
    own: Any,
    slope: Any,
    X: Any,
    total: Any,
    sums: Any,
    ridge: Any,
    tol: Any,
    limit: Any,
    done: Any,
    keys: Any,
    tables: Any,
    scratch: Any,
) -> None:
    """Solve rows of X by freeing and fixing all variables of the wrong sign at once; `done` tells which are solved, others stay.

    G (R, K, K), or (R, K(K+1)/2, N) if `own`; slope (R, N, K): ``-∇`` at X (R, N, K); tol, done (R, N). The map from slopes to
    unknowns is kept for every set of free variables: keys (H,) int64, tables (H, K + 1, K), where H is a power of 2. scratch (4, K).
    K is at most 62.
    """
    R, N, K = X.shape
    full = (1 << K) - 1
    h, y, e, at = scratch[0], scratch[1], scratch[2], scratch[3]

    def entry(r: int, n: int, i: int, k: int) -> float:
        if not own:
            return G[r, i, k]
        low, high = min(i, k), max(i, k)
        return G[r, low * K - low * (low - 1) // 2 + high - low, n]

    def balance(T: Any, free: int) -> None:
        # the multiplier of the sum is eliminated; the last row is what a unit of the sum adds
        for i in range(K):
            e[i] = 0.0 if free >> i & 1 == 1 else -1.0
        for k in range(K):
            if free >> k & 1 == 1:
                for i in range(K):
                    e[i] -= T[k, i]
        size = 0.0
        for k in range(K):
            if free >> k & 1 == 1:
                size -= e[k]
        for k in range(K):
            if free >> k & 1 == 1:
                u = -e[k] / size
                for i in range(K):
                    T[k, i] += u * e[i]
        for i in range(K):
            T[K, i] = -e[i] / size

    def fill(T: Any, r: int, n: int, free: int) -> None:
        # T[k, i]: what a unit of slope k adds to unknown i where i is free, and to its slope where it is held at 0
        largest = 0.0
        for k in range(K):
            for i in range(K):
                T[k, i] = entry(r, n, k, i)
            largest = max(largest, T[k, k])
        for k in range(K):
            T[k, k] += ridge * largest
        for p in range(K):  # principal pivots
            if free >> p & 1 == 0:
                continue
            pivot = 1 / T[p, p] if T[p, p] > 0 else 0.0
            for k in range(K):
                if k != p:
                    f = T[k, p] * pivot
                    for i in range(K):
                        T[k, i] -= f * T[p, i]
                    T[k, p] = -f
            for i in range(K):
                T[p, i] *= pivot
            T[p, p] = pivot
        for k in range(K):
            if free >> k & 1 == 1:
                for i in range(K):
                    if free >> i & 1 == 0:
                        T[k, i] = -T[k, i]
            else:
                for i in range(K):
                    T[k, i] = 0.0
                T[k, k] = 1.0
        if sums:
            balance(T, free)

    for r in range(R):
        for s in range(len(keys)):
            keys[s] = -1
        for n in range(N):
            free, valid = 0, True
            for k in range(K):
                valid = valid and math.isfinite(slope[r, n, k])
                at[k] = X[r, n, k]
                if at[k] > 0:
                    free |= 1 << k
            if not valid:
                done[r, n] = True
                for k in range(K):
                    X[r, n, k] = math.nan
                continue
            started = free != 0
            if not started:
                free = full
            best, patience = K + 1, 3
            for _ in range(limit):
                slot = 0 if own else (free ^ (free >> 13) ^ (free >> 29) ^ (free >> 41)) & (len(keys) - 1)
                if own or keys[slot] != free:
                    fill(tables[slot], r, n, free)
                    keys[slot] = free
                T = tables[slot]
                rest = total
                for k in range(K):
                    h[k] = slope[r, n, k]
                    y[k] = 0.0
                if started:
                    for k in range(K):
                        if free >> k & 1 == 1:
                            rest -= at[k]
                            y[k] = at[k]
                        elif at[k] != 0:
                            for i in range(K):
                                h[i] += at[k] * entry(r, n, k, i)
                for k in range(K):
                    for i in range(K):
                        y[i] += h[k] * T[k, i]
                if sums:
                    for i in range(K):
                        y[i] += rest * T[K, i]
                wrong, count = 0, 0
                for k in range(K):
                    inside = free >> k & 1 == 1
                    if (inside and y[k] < 0) or (not inside and y[k] > tol[r, n]):
                        wrong |= 1 << k
                        count += 1
                if count == 0:
                    done[r, n] = True
                    for k in range(K):
                        X[r, n, k] = y[k] if free >> k & 1 == 1 else 0.0
                    break
                if count < best:
                    best, patience = count, 3
                else:
                    patience -= 1
                    if patience < 0:
                        break
                free ^= wrong
                if sums and free == 0:
                    top = 0
                    for k in range(K):
                        if y[k] > y[top]:
                            top = k
                    free = 1 << top


def add_one_by_one(
    G: Any,
    own: Any,
    slope: Any,
    X: Any,
    total: Any,
    sums: Any,
    ridge: Any,
    tol: Any,
    limit: Any,
    done: Any,
    factor: Any,
    scratch: Any,
    order: Any,
) -> None:
    """Solve rows of X by freeing one variable at a time and never raising the objective; `done` rows stay.

    The arguments of `exchange`; X is feasible or zero. factor (K, K), scratch (5, K), order (2, K) int64.
    """
    R, N, K = X.shape
    L = factor
    at, x, z, u, h = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4]
    members, blocked = order[0], order[1]

    def entry(r: int, n: int, i: int, k: int) -> float:
        if not own:
            return G[r, i, k]
        low, high = min(i, k), max(i, k)
        return G[r, low * K - low * (low - 1) // 2 + high - low, n]

    def factorize(r: int, n: int, P: int, least: float) -> None:
        # Cholesky; a pivot that rounding has eaten is the ridge
        for a in range(P):
            for b in range(a + 1):
                value = entry(r, n, members[a], members[b])
                for c in range(b):
                    value -= L[a, c] * L[b, c]
                if a == b:
                    L[a, a] = math.sqrt(max(value + least, 0.5 * least, 1e-300))
                else:
                    L[a, b] = value / L[b, b]

    def solve(v: Any, P: int) -> None:
        for a in range(P):
            for c in range(a):
                v[a] -= L[a, c] * v[c]
            v[a] /= L[a, a]
        for a in range(P - 1, -1, -1):
            for c in range(a + 1, P):
                v[a] -= L[c, a] * v[c]
            v[a] /= L[a, a]

    def best_of_free(r: int, n: int, P: int, least: float) -> float:
        # z: the minimizer with all others at 0; returns the multiplier of the sum
        if P == 0:
            return 0.0
        for i in range(K):
            h[i] = slope[r, n, i]
        rest = total
        for a in range(P):
            rest -= at[members[a]]
        for k in range(K):
            inside = False
            for a in range(P):
                inside = inside or members[a] == k
            if at[k] != 0 and not inside:
                for i in range(K):
                    h[i] += at[k] * entry(r, n, k, i)
        for a in range(P):
            z[a] = h[members[a]]
            u[a] = 1.0
        factorize(r, n, P, least)
        solve(z, P)
        multiplier = 0.0
        if sums:
            solve(u, P)
            size = 0.0
            for a in range(P):
                multiplier += z[a]
                size += u[a]
            multiplier = (multiplier - rest) / size
        for a in range(P):
            z[a] += at[members[a]] - (multiplier * u[a] if sums else 0.0)
        return multiplier

    for r in range(R):
        for n in range(N):
            if done[r, n]:
                continue
            P, largest, valid = 0, 0.0, True
            for k in range(K):
                at[k] = x[k] = X[r, n, k]
                blocked[k] = 0
                largest = max(largest, entry(r, n, k, k))
                valid = valid and math.isfinite(slope[r, n, k])
                if x[k] > 0:
                    members[P] = k
                    P += 1
            if not valid:
                for k in range(K):
                    X[r, n, k] = math.nan
                continue
            if sums and P == 0:
                top, value = 0, math.inf
                for k in range(K):
                    alone = 0.5 * total * entry(r, n, k, k) - slope[r, n, k]
                    if alone < value:
                        top, value = k, alone
                x[top] = total
                members[0] = top
                P = 1
            newest = -1
            for _ in range(limit):
                multiplier = 0.0
                while True:
                    multiplier = best_of_free(r, n, P, ridge * largest)
                    fraction, leaving = 1.0, -1
                    for a in range(P):
                        if z[a] < 0:
                            share = x[members[a]] / (x[members[a]] - z[a])
                            if leaving < 0 or share < fraction:
                                fraction, leaving = share, a
                    kept = 0
                    for a in range(P):
                        k = members[a]
                        x[k] = z[a] if leaving < 0 else x[k] + fraction * (z[a] - x[k])
                        if leaving >= 0 and (a == leaving or x[k] <= 0):
                            x[k] = 0.0
                            if k == newest:
                                blocked[k] = 1
                        else:
                            members[kept] = k
                            kept += 1
                    P = kept
                    if leaving < 0:
                        break
                if newest >= 0 and blocked[newest] == 0:
                    for k in range(K):
                        blocked[k] = 0
                newest, steepest = -1, tol[r, n]
                for k in range(K):
                    h[k] = slope[r, n, k] - multiplier
                for k in range(K):
                    move = x[k] - at[k]
                    if move != 0:
                        for i in range(K):
                            h[i] -= move * entry(r, n, k, i)
                for k in range(K):
                    if x[k] == 0 and blocked[k] == 0 and h[k] > steepest:
                        inside = False
                        for a in range(P):
                            inside = inside or members[a] == k
                        if not inside:
                            newest, steepest = k, h[k]
                if newest < 0:
                    done[r, n] = True
                    break
                members[P] = newest
                P += 1
            for k in range(K):
                X[r, n, k] = x[k]
