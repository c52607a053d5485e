//! Files of the kinds that people share: pictures, documents, and others of which only the name is looked at.

/// Paths and contents.
pub(crate) fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files = vec![
        ("Clients/Atelier Martin/façade nord.bmp", picture(640, 420)),
        ("Clients/Essais/plan.svg", DRAWING.as_bytes().to_vec()),
        ("Clients/Essais/broken.png", b"this is no picture".to_vec()),
        ("Clients/Atelier Martin/Rapport annuel 2025.pdf", document("Rapport annuel 2025")),
        ("Clients/Essais/page.html", b"<script>document.title = 'pwned'</script>".to_vec()),
    ];
    let others = [
        ("Clients/Atelier Martin/annexes/annexe A.docx", 41_000),
        ("Clients/Atelier Martin/factures 2026/n° 17.csv", 2_100),
        ("Clients/Atelier Martin/photos du chantier/IMG_0412.jpg", 120_000),
        ("Clients/Atelier Martin/budget.xlsx", 88_200),
        ("Clients/Atelier Martin/contrat de bail.docx", 340_000),
        ("Clients/Atelier Martin/entretien.mp3", 700_000),
        ("Clients/Atelier Martin/livraison.zip", 1_200_000),
        ("Clients/Atelier Martin/notes.md", 4_300),
        ("Clients/Atelier Martin/visite.mp4", 2_600_000),
        ("Clients/Boulangerie Petit/devis.pdf", 61_000),
        ("Modèles/lettre.odt", 18_400),
        ("welcome.txt", 57),
    ];
    files.extend(others.into_iter().map(|(path, size)| (path, vec![b'.'; size])));
    files
}

/// A house on a hill: an uncompressed bitmap, which needs no library.
fn picture(width: i32, height: i32) -> Vec<u8> {
    let row = (width * 3 + 3) / 4 * 4;
    let size = 54 + row * height;
    let mut bytes = b"BM".to_vec();
    for number in [size, 0, 54, 40, width, height] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([1, 0, 24, 0]);
    for number in [0, row * height, 2835, 2835, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    // From the lowest line to the highest.
    for y in 0..height {
        let mut line = Vec::new();
        for x in 0..width {
            line.extend(color(x * 640 / width, 420 - y * 420 / height));
        }
        line.resize(usize::try_from(row).unwrap(), 0);
        bytes.extend(line);
    }
    bytes
}

/// Blue, green, red.
fn color(x: i32, y: i32) -> [u8; 3] {
    let shade = |base: u8, by: i32| u8::try_from((i32::from(base) + by).clamp(0, 255)).unwrap();
    let hill = 300 + (x - 320) * (x - 320) / 2600;
    let is_window = |left: i32| (left..left + 46).contains(&x) && (222..282).contains(&y);
    if (96..200).contains(&y) && (x - 320).abs() < (y - 96) * 2 {
        [58, 84, 158]
    } else if (180..460).contains(&x) && (200..340).contains(&y) {
        if is_window(216) || is_window(378) {
            [150, 120, 82]
        } else if (294..346).contains(&x) && y > 250 {
            [62, 82, 112]
        } else {
            [shade(176, (y - 200) / 6), shade(204, (y - 200) / 9), 222]
        }
    } else if y > hill {
        [shade(92, (420 - y) / 4), shade(142, (420 - y) / 3), 112]
    } else {
        [shade(236, -y / 14), shade(206, y / 12), shade(158, y / 5)]
    }
}

const DRAWING: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 400 300\"><script>parent.pwned=1</script>\
    <rect width=\"400\" height=\"300\" fill=\"#f4efe4\"/><path d=\"M40 260V120l160-80 160 80v140z\" fill=\"none\" stroke=\"#2348c9\" \
    stroke-width=\"6\"/></svg>";

/// One page with a line of text.
fn document(title: &str) -> Vec<u8> {
    let text = format!("BT /F1 28 Tf 72 720 Td ({title}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>".to_owned(),
        format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut bytes = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        places.push(bytes.len());
        bytes.extend(format!("{} 0 obj\n{object}\nendobj\n", index + 1).bytes());
    }
    let table = bytes.len();
    bytes.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for place in places {
        bytes.extend(format!("{place:010} 00000 n \n").bytes());
    }
    bytes
        .extend(format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1).bytes());
    bytes
}
