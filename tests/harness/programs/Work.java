// SPDX-License-Identifier: Apache-2.0
/* Threads that compute digests and make garbage, with a deterministic result. */
import java.io.PrintWriter;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

public class Work {
	static final int ROUNDS = 25, PARTS = 6;

	static String part(int round, int part) throws Exception {
		MessageDigest digest = MessageDigest.getInstance("SHA-256");
		Map<String, byte[]> kept = new HashMap<>();

		for (int i = 0; i < 4000; i++) {
			byte[] garbage = new byte[1000 + i % 7000];

			garbage[i % garbage.length] = (byte) (round + part);
			digest.update(garbage);
			kept.put("k" + i % 500, garbage);
		}
		digest.update((byte) kept.size());
		return HexFormat.of().formatHex(digest.digest());
	}

	public static void main(String[] args) throws Exception {
		ExecutorService pool = Executors.newFixedThreadPool(3);

		try (PrintWriter out = new PrintWriter("work.txt")) {
			for (int round = 0; round < ROUNDS; round++) {
				List<Future<String>> parts = new ArrayList<>();
				int r = round;

				for (int p = 0; p < PARTS; p++) {
					int part = p;

					parts.add(pool.submit(() -> part(r, part)));
				}
				for (Future<String> f : parts)
					out.println(round + " " + f.get());
			}
		}
		pool.shutdown();
	}
}
